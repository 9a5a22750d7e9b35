// What needs somebody's attention, with its cure; then what is over. Not there at all where the hub does not watch.
export default {
  props: { data: Object },
  template: `
    <section v-if="data" class="panel" aria-labelledby="alerts-title">
      <h2 id="alerts-title">Alerts</h2>
      <p v-if="!data.standing.length" class="empty">All is well.</p>
      <ul class="alerts" aria-live="polite">
        <li v-for="one in data.standing" :key="one.rule + one.subject" :class="one.severity">
          <b>{{ one.message }}</b>
          <p v-if="one.cure"><template v-for="(piece, index) in pieces(one.cure)"><code v-if="index % 2">{{ piece }}</code><template v-else>{{ piece }}</template></template></p>
          <p class="quiet">{{ one.severity }}, {{ one.rule }}, {{ one.when }}</p>
        </li>
      </ul>
      <details v-if="data.past.length">
        <summary>{{ data.past.length }} over</summary>
        <ul class="told"><li v-for="(one, index) in data.past" :key="index">{{ one.message }}, {{ one.when }}</li></ul>
      </details>
    </section>`,
  methods: { pieces: (text) => text.split("`") },
};
