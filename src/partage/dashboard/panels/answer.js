// An answer with its citations: a mark in the text leads to the passage it stands on, shown within its page.
export default {
  props: { data: Object },
  template: `
    <section v-if="data" class="panel" aria-labelledby="answer-title" aria-live="polite">
      <div class="head"><h2 id="answer-title">Answer</h2><p class="quiet">{{ data.told }}</p></div>
      <p v-if="data.degraded" class="note">{{ data.degraded }}</p>
      <p v-if="!data.supported" class="note">The documents do not answer this.</p>
      <p class="prose"><template v-for="(piece, index) in data.pieces" :key="index"><button v-if="piece.cite !== null" type="button" class="cite"
         :aria-label="'Citation ' + piece.cite" @mouseenter="lit = piece.cite" @mouseleave="lit = null" @focus="lit = piece.cite"
         @click="show(piece.cite)">{{ piece.cite }}</button><template v-else>{{ piece.text }}</template></template></p>
      <ol v-if="data.citations.length" class="citations">
        <li v-for="one in data.citations" :key="one.number" :class="{ lit: one.number === lit }" :data-number="one.number" tabindex="-1">
          <p class="quiet"><b>{{ one.number }}</b> {{ one.document }}, page {{ one.page }}</p>
          <blockquote>{{ one.before }}<mark>{{ one.marked }}</mark>{{ one.after }}</blockquote>
        </li>
      </ol>
    </section>`,
  data: () => ({ lit: null }),
  methods: {
    show(number) {
      const found = this.$el.querySelector('[data-number="' + number + '"]');
      found?.scrollIntoView({ block: "center", behavior: "smooth" });
      found?.focus({ preventScroll: true });
      this.lit = number;
    },
  },
};
