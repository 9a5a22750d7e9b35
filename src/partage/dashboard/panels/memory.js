// Every device as one bar, and below it the models that are in it, each with what can be done about it.
const KINDS = {
  weights: "Weights", kv: "KV cache", compute: "Compute", overhead: "Process", lease: "Leases", strangers: "Other programs",
  promised: "Set aside", free: "Free", reserve: "Never given out",
};

export default {
  props: { data: Array },
  emits: ["unload", "pin", "pause"],
  template: `
    <section class="panel" aria-labelledby="memory-title">
      <div class="head">
        <h2 id="memory-title">Memory</h2>
        <ul class="legend" aria-hidden="true">
          <li v-for="key in keys" :key="key.kind"><i class="segment" :class="key.kind"></i>{{ key.label }}</li>
        </ul>
      </div>
      <p v-if="!data" class="empty">Waiting for the hub.</p>
      <div v-for="device in data || []" :key="device.id" class="device">
        <div class="head">
          <h3>{{ device.name }}</h3>
          <p class="quiet">
            <template v-for="fact in device.facts">{{ fact }} · </template><b>{{ device.used }}</b> of {{ device.budget }} in use, {{ device.free }} free
          </p>
        </div>
        <div class="bar" role="img" :aria-label="device.words">
          <span v-for="one in device.segments" :key="(one.engine || '') + one.label" class="segment"
                :class="[one.kind, { loading: one.loading, lit: one.engine && one.engine === lit }]"
                :style="{ flexGrow: one.share, '--tone': tone(one) }" :title="one.label + ': ' + one.size"
                @mouseenter="lit = one.engine" @mouseleave="lit = null"></span>
        </div>
        <p v-if="!device.models.length" class="empty">{{ device.kind === "parked" ? "No model is parked." : "No model is loaded here. The first request for one loads it." }}</p>
        <ul class="models">
          <li v-for="one in device.models" :key="one.engine" :class="{ lit: one.engine === lit }"
              @mouseenter="lit = one.engine" @mouseleave="lit = null">
            <i class="dot" :style="{ '--tone': tone(one) }"></i>
            <div class="what">
              <b>{{ one.model }}</b>
              <span class="chip" :class="one.state">{{ one.state_text }}</span>
              <span v-if="one.pinned" class="chip">pinned</span>
              <span>{{ one.size }}{{ one.measured ? "" : " estimated" }}</span>
              <span class="quiet parts">{{ one.parts.map((part) => part.label + " " + part.size).join(", ") }}</span>
            </div>
            <div class="quiet use">
              <span>{{ one.serving }} slots busy</span><span>{{ one.context }} tokens of context</span><span>{{ one.stays }}</span>
            </div>
            <div class="acts">
              <button type="button" class="small" :aria-label="(one.halted ? 'Resume ' : 'Pause ') + one.model"
                      @click="$emit('pause', one.model, !one.halted)">{{ one.halted ? "Resume" : "Pause" }}</button>
              <button type="button" class="small" :aria-label="(one.pinned ? 'Unpin ' : 'Pin ') + one.model"
                      @click="$emit('pin', one.model, !one.pinned)">{{ one.pinned ? "Unpin" : "Pin" }}</button>
              <button type="button" class="small" :aria-label="'Unload ' + one.model"
                      @click="$emit('unload', one.model)">Unload</button>
            </div>
          </li>
        </ul>
      </div>
    </section>`,
  data: () => ({ lit: null }),
  methods: {
    tone: (one) => (one.tone === undefined ? "transparent" : `var(--tone-${one.tone})`),
  },
  computed: {
    keys() {
      const kinds = new Set((this.data || []).flatMap((device) => device.segments.map((one) => one.kind)));
      return Object.entries(KINDS).filter(([kind]) => kinds.has(kind)).map(([kind, label]) => ({ kind, label }));
    },
  },
};
