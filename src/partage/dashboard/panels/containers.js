// The containers on this machine, as Docker tells. Not there at all without Docker.
export default {
  props: { data: Array },
  template: `
    <section v-if="data" class="panel" aria-labelledby="containers-title">
      <h2 id="containers-title">Containers</h2>
      <p v-if="!data.length" class="empty">No container runs here.</p>
      <div v-else class="scroll" tabindex="0" role="region" aria-labelledby="containers-title">
        <table>
          <thead>
            <tr>
              <th scope="col">Container</th><th scope="col">State</th><th scope="col">Client</th>
              <th scope="col" class="number">Memory</th><th scope="col" class="number">Cores</th><th scope="col" class="number">Restarts</th>
            </tr>
          </thead>
          <tbody>
            <tr v-for="one in data" :key="one.name">
              <th scope="row">{{ one.name }} <span class="quiet">{{ one.image }}</span></th>
              <td>{{ one.state }} <span v-if="one.health" class="chip">{{ one.health }}</span> <span v-if="one.killed" class="chip bad">out of memory</span></td>
              <td>{{ one.client || "\u2013" }}</td>
              <td class="number">{{ one.memory }}</td><td class="number">{{ one.cores }}</td><td class="number">{{ one.restarts }}</td>
            </tr>
          </tbody>
        </table>
      </div>
    </section>`,
};
