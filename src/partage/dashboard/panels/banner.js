// Says that the hub is away, for as long as it is.
export default {
  props: { data: Object },
  template: `
    <div class="banner-place" role="status" aria-live="assertive">
      <div v-if="data" class="banner">
        <b>The hub does not answer since {{ data.since }}.</b>
        <span>{{ data.message }}. What is shown is the last that was heard; this page goes on by itself as soon as the hub is back.</span>
      </div>
    </div>`,
};
