// The models of this hub, those in memory first, each with what can be done about it.
export default {
  props: { data: Array },
  emits: ["load", "unload", "pin", "pause"],
  template: `
    <section class="panel" aria-labelledby="models-title">
      <h2 id="models-title">Models</h2>
      <p v-if="!data" class="empty">Waiting for the hub.</p>
      <p v-else-if="!data.length" class="empty">There is no model yet. Fetch one: <code>partage pull smollm2:135m</code></p>
      <ul v-else class="models">
        <li v-for="one in data" :key="one.name">
          <i class="dot" :style="{ '--tone': one.tone === null ? 'var(--line)' : 'var(--tone-' + one.tone + ')' }"></i>
          <div class="what">
            <b>{{ one.name }}</b>
            <span v-if="one.state" class="chip" :class="one.state">{{ one.state_text }}</span>
            <span v-else-if="one.halted" class="chip paused">paused by hand</span>
            <span v-if="one.pinned" class="chip">pinned</span>
            <span class="quiet">{{ one.size }}<template v-if="one.details"> · {{ one.details }}</template></span>
          </div>
          <div class="quiet use"><span>{{ one.can.join(", ") }}</span></div>
          <div class="acts">
            <button v-if="one.state || one.halted" type="button" class="small" :aria-label="(one.halted ? 'Resume ' : 'Pause ') + one.name"
                    @click="$emit('pause', one.name, !one.halted)">{{ one.halted ? "Resume" : "Pause" }}</button>
            <button v-if="!one.state" type="button" class="small" :aria-label="'Load ' + one.name" @click="$emit('load', one.name)">Load</button>
            <template v-else>
              <button type="button" class="small" :aria-label="(one.pinned ? 'Unpin ' : 'Pin ') + one.name"
                      @click="$emit('pin', one.name, !one.pinned)">{{ one.pinned ? "Unpin" : "Pin" }}</button>
              <button type="button" class="small" :aria-label="'Unload ' + one.name" @click="$emit('unload', one.name)">Unload</button>
            </template>
          </div>
        </li>
      </ul>
    </section>`,
};
