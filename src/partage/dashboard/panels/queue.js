// Who waits, per client: place, model, how long it has been and how long it is likely to be.
export default {
  props: { data: Array },
  template: `
    <section class="panel" aria-labelledby="queue-title">
      <h2 id="queue-title">Queue</h2>
      <p v-if="!data || !data.length" class="empty">Nobody waits.</p>
      <div v-for="one in data || []" :key="one.client" class="waiting">
        <h3>{{ one.client }} <span class="chip">{{ one.class }}</span> <span class="quiet">{{ one.count }} waiting</span></h3>
        <ol>
          <li v-for="request in one.requests" :key="request.id">
            <span class="place" :title="'place ' + request.position + ' for ' + request.model">{{ request.position }}</span>
            <i class="dot" :style="{ '--tone': 'var(--tone-' + request.tone + ')' }"></i>
            <span class="name">{{ request.model }}</span>
            <span class="passed" aria-hidden="true"><i :style="{ width: 100 * request.passed + '%' }"></i></span>
            <span class="quiet">{{ request.waited }} so far, about {{ request.to_come }} to come</span>
          </li>
        </ol>
        <p v-if="one.more" class="quiet">and {{ one.more }} more</p>
      </div>
    </section>`,
};
