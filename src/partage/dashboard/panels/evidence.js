// A document's pages with the box of every field drawn where it was read, and the fields beside them.
export default {
  props: { data: Object },
  template: `
    <section v-if="data" class="panel" aria-labelledby="evidence-title">
      <div class="head"><h2 id="evidence-title">{{ data.name }}</h2><p class="quiet">{{ data.told }}</p></div>
      <div class="evidence">
        <div class="papers">
          <figure v-for="page in data.pages" :key="page.number">
            <div class="paper" :style="{ aspectRatio: page.ratio }">
              <img v-if="page.image" :src="page.image" :alt="'Page ' + page.number + ' of ' + data.name">
              <p v-else class="empty">This page is not drawn here; the boxes are where the fields stand.</p>
              <button v-for="box in page.boxes" :key="box.name" type="button" class="box" :class="{ lit: box.name === lit }"
                      :style="{ left: box.left + '%', top: box.top + '%', width: box.width + '%', height: box.height + '%' }"
                      :aria-label="box.label" :title="box.label" :data-field="box.name"
                      @mouseenter="lit = box.name" @mouseleave="lit = null" @focus="lit = box.name" @click="show('field', box.name)"></button>
            </div>
            <figcaption class="quiet">Page {{ page.number }}, read by {{ page.read_by }}<template v-if="page.note">: {{ page.note }}</template></figcaption>
            <details><summary>Text of page {{ page.number }}</summary><pre tabindex="0">{{ page.text }}</pre></details>
          </figure>
        </div>
        <dl v-if="data.fields.length" class="fields">
          <div v-for="field in data.fields" :key="field.name" :class="{ lit: field.name === lit, missing: !field.found }" :data-field="field.name"
               @mouseenter="lit = field.name" @mouseleave="lit = null">
            <dt>{{ field.label }}</dt>
            <dd v-if="field.found">
              <button type="button" class="value" @click="show('box', field.name)" @focus="lit = field.name">{{ field.value }}</button>
              <span class="quiet">page {{ field.page }}, {{ field.confidence }} sure</span>
            </dd>
            <dd v-else class="quiet">not found<template v-if="field.why">: {{ field.why }}</template></dd>
          </div>
        </dl>
      </div>
    </section>`,
  data: () => ({ lit: null }),
  methods: {
    show(what, name) {
      this.lit = name;
      const found = [...this.$el.querySelectorAll("[data-field]")].find((one) => one.dataset.field === name && (what === "box") === one.classList.contains("box"));
      found?.scrollIntoView({ block: "center", behavior: "smooth" });
    },
  },
};
