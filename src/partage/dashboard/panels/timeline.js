// Which model or lease was in memory when, over the last hour: zoomed by buttons, keys, ctrl and the wheel; moved by dragging.
const HOUR = 3600;
const LEAST = 30;
const STEPS = [5, 10, 30, 60, 120, 300, 600, 900];
const MOST_ROWS = 30;

export default {
  props: { data: Object, at: Number },
  template: `
    <section class="panel" aria-labelledby="timeline-title">
      <div class="head">
        <h2 id="timeline-title">Residency</h2>
        <p v-if="data" class="quiet">{{ data.swaps }} left memory in the last hour<template v-if="data.failures">, {{ data.failures }} failed</template></p>
        <div class="acts" role="group" aria-label="Zoom">
          <button v-for="[label, span] in spans" :key="span" type="button" class="small" :aria-pressed="String(width === span && !back)"
                  @click="look(span, 0)">{{ label }}</button>
        </div>
      </div>
      <p v-if="!lanes.length" class="empty">Nothing was in memory in the last hour.</p>
      <div v-else class="timeline" tabindex="0" role="group" aria-label="Timeline: arrow keys move it, plus and minus zoom, Home goes to now"
           @keydown="key" @wheel="wheel" @pointerdown="grab" @pointermove="drag" @pointerup="held = null" @pointercancel="held = null">
        <div v-for="lane in lanes" :key="lane.model" class="lane">
          <span class="name" :title="lane.model">{{ lane.model }}</span>
          <div class="track">
            <i v-for="span in visible(lane)" :key="span.engine" class="span" :class="{ failed: span.failed }"
               :style="place(span.from_s, span.to_s, lane.tone)" :title="told(lane.model, span)">
              <i class="load" :style="loading(span)"></i>
              <i v-for="one in span.pauses" :key="one.from_s" class="pause" :style="paused(span, one)"></i>
            </i>
          </div>
        </div>
        <div class="lane axis" aria-hidden="true">
          <span class="name"></span>
          <div class="track"><span v-for="tick in ticks" :key="tick.at" :style="{ left: tick.left + '%' }">{{ tick.text }}</span></div>
        </div>
      </div>
      <details v-if="lanes.length">
        <summary>As a list</summary>
        <ul class="told"><li v-for="[id, text] in rows" :key="id">{{ text }}</li></ul>
      </details>
    </section>`,
  data: () => ({ width: HOUR, back: 0, now: 0, held: null, spans: [["1 h", HOUR], ["15 min", 900], ["5 min", 300], ["1 min", 60]] }),
  computed: {
    end() { return this.now - this.back; },
    begin() { return this.end - this.width; },
    lanes() { return this.data ? this.data.lanes : []; },
    ticks() {
      const step = STEPS.find((one) => this.width / one <= 7) || HOUR;
      const first = Math.ceil(this.clock(this.begin) / 1000 / step) * step;
      const offset = this.clock(0) / 1000;
      const ticks = [];
      for (let at = first; at - offset <= this.end; at += step) {
        const text = new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...(step < 60 && { second: "2-digit" }) });
        const left = (100 * (at - offset - this.begin)) / this.width;
        if (left > 5 && left < 95) ticks.push({ at, left, text });
      }
      return ticks;
    },
    rows() {
      const all = this.lanes.flatMap((lane) => lane.spans.map((span) => [span, lane.model]));
      all.sort(([a], [b]) => (b.to_s ?? this.now) - (a.to_s ?? this.now));
      return all.slice(0, MOST_ROWS).map(([span, model]) => [span.engine, this.told(model, span)]);
    },
  },
  watch: { at() { this.heard = performance.now(); this.tick(); } },
  created() {
    this.heard = performance.now();
    this.tick();
    this.timer = setInterval(() => this.tick(), 1000);
  },
  unmounted() { clearInterval(this.timer); },
  methods: {
    tick() { this.now = (this.at || 0) + (performance.now() - this.heard) / 1000; },
    clock(s) { return Date.now() - (this.now - s) * 1000; },
    time(s) { return new Date(this.clock(s)).toLocaleTimeString([], { hourCycle: "h23" }); },
    visible(lane) { return lane.spans.filter((span) => (span.to_s ?? this.now) > this.begin && span.from_s < this.end); },
    place(from, to, tone) {
      const left = Math.max(0, (from - this.begin) / this.width);
      const right = Math.min(1, ((to ?? this.now) - this.begin) / this.width);
      return { left: 100 * left + "%", width: 100 * Math.max(0, right - left) + "%", "--tone": tone === null ? "var(--stranger)" : `var(--tone-${tone})` };
    },
    loading(span) {
      const from = Math.max(span.from_s, this.begin);
      const whole = (span.to_s ?? this.now) - from;
      const loaded = (span.ready_s ?? span.to_s ?? this.now) - from;
      return { width: 100 * Math.min(1, Math.max(0, loaded / (whole || 1))) + "%" };
    },
    paused(span, pause) {
      const from = Math.max(span.from_s, this.begin);
      const whole = (span.to_s ?? this.now) - from || 1;
      const left = Math.min(1, Math.max(0, (pause.from_s - from) / whole));
      const right = Math.min(1, Math.max(0, ((pause.to_s ?? this.now) - from) / whole));
      return { left: 100 * left + "%", width: 100 * (right - left) + "%" };
    },
    told(model, span) {
      const until = span.to_s ? `until ${this.time(span.to_s)}` : "until now";
      const why = [span.came && `came: ${span.came}`, span.load, span.paused, span.left && `${span.failed ? "failed" : "left"}: ${span.left}`];
      return [`${model}, ${this.time(span.from_s)} ${until}, ${span.where}`, ...why.filter(Boolean)].join("; ");
    },
    look(width, back) {
      this.width = Math.min(HOUR, Math.max(LEAST, width));
      this.back = Math.min(HOUR - this.width, Math.max(0, back));
    },
    key(event) {
      const step = this.width / 4;
      const moves = {
        ArrowLeft: () => this.look(this.width, this.back + step), ArrowRight: () => this.look(this.width, this.back - step),
        "+": () => this.look(this.width / 2, this.back), "=": () => this.look(this.width / 2, this.back),
        "-": () => this.look(this.width * 2, this.back), Home: () => this.look(this.width, 0),
      };
      if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      moves[event.key]();
      event.preventDefault();
    },
    wheel(event) {
      if (!event.ctrlKey) return;  // the page still scrolls over it
      event.preventDefault();
      this.look(this.width * (event.deltaY > 0 ? 1.25 : 0.8), this.back);
    },
    grab(event) {
      const track = event.currentTarget.querySelector(".track").clientWidth;
      this.held = { x: event.clientX, back: this.back, scale: this.width / track };
    },
    drag(event) {
      if (this.held) this.look(this.width, this.held.back + (event.clientX - this.held.x) * this.held.scale);
    },
  },
};
