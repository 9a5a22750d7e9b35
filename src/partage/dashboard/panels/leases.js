// The leases: who holds memory that is no model, how much of it is really used, and who waits for some.
export default {
  props: { data: Array },
  emits: ["pause-lease"],
  template: `
    <section v-if="data" class="panel" aria-labelledby="leases-title">
      <h2 id="leases-title">Leases</h2>
      <ul class="models">
        <li v-for="one in data" :key="one.id">
          <i class="dot" style="--tone: var(--stranger)"></i>
          <div class="what">
            <b>{{ one.id }}</b>
            <span class="chip" :class="one.state">{{ one.state_text }}</span>
            <span>{{ one.where }}</span>
            <span v-if="one.used" :class="{ trouble: one.over }" :title="one.over ? 'more than its lease' : null">{{ one.used }}</span>
          </div>
          <div class="quiet use">
            <span>{{ one.client }}, {{ one.class }}</span><span>{{ one.since }}</span><span v-if="one.to_come">{{ one.to_come }}</span>
          </div>
          <div class="acts">
            <button v-if="one.held" type="button" class="small" :aria-label="(one.halted ? 'Resume ' : 'Pause ') + one.id"
                    @click="$emit('pause-lease', one.id, !one.halted)">{{ one.halted ? "Resume" : "Pause" }}</button>
          </div>
        </li>
      </ul>
    </section>`,
};
