// Says that the hub is away, for as long as it is.
export default {
  props: { data: Object },
  template: `
    <div class="banner-place" role="status" aria-live="assertive">
      <div v-if="data" class="banner">
        <b>The hub has not answered since {{ data.since }}.</b>
        <span><template v-for="(piece, index) in pieces(data.message)"><code v-if="index % 2">{{ piece }}</code><template v-else>{{ piece }}</template></template></span>
        <span class="quiet">What is shown is the last that was heard. This page goes on by itself as soon as the hub is back.</span>
      </div>
    </div>`,
  methods: { pieces: (text) => text.split("`") },
};
