// A conversation: what was said, by whom, with the pictures; it follows the answer as it grows.
export default {
  props: { data: Array },
  template: `
    <ol class="talk" v-if="data && data.length" aria-label="Conversation">
      <li v-for="(one, index) in data" :key="index" :class="one.role">
        <span class="quiet">{{ one.who }}</span>
        <img v-if="one.picture" :src="one.picture" alt="The picture that was sent">
        <details v-if="one.thinking"><summary>Thoughts</summary><p class="prose">{{ one.thinking }}</p></details>
        <p class="prose">{{ one.text }}<i v-if="one.growing" class="caret" aria-hidden="true"></i></p>
        <span v-if="one.told" class="quiet">{{ one.told }}</span>
      </li>
    </ol>
    <p v-else class="empty">Say something. The model is loaded when it is needed; you are a client like any other, class interactive.</p>`,
  updated() { if (this.data?.at(-1)?.growing) this.$el.lastElementChild?.scrollIntoView({ block: "nearest" }); },
};
