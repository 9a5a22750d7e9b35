// The few numbers above everything else.
export default {
  props: { data: Array },
  template: `
    <dl class="figures">
      <div v-for="figure in data || []" :key="figure.label">
        <dt>{{ figure.label }}</dt>
        <dd>{{ figure.value }}</dd>
      </div>
    </dl>`,
};
