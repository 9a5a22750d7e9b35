// What every client asks for and gets.
export default {
  props: { data: Array },
  template: `
    <section class="panel" aria-labelledby="clients-title">
      <h2 id="clients-title">Clients</h2>
      <p v-if="!data || !data.length" class="empty">Nobody has called yet. Point any Ollama or OpenAI client at the hub.</p>
      <div v-else class="scroll" tabindex="0" role="region" aria-labelledby="clients-title">
        <table>
          <thead>
            <tr>
              <th scope="col">Client</th>
              <th scope="col" class="number">Now</th>
              <th scope="col" class="number">Tokens/s</th>
              <th scope="col" class="line">Last two minutes</th>
              <th scope="col" class="number" title="Tokens per second of one answer, half of them faster">Per answer</th>
              <th scope="col" class="number" title="Half of the requests, 95 % of them">Wait, p50 / p95</th>
              <th scope="col" class="number" title="Half of the requests, 95 % of them">First token, p50 / p95</th>
              <th scope="col" class="number">Time served</th>
              <th scope="col" class="number">Requests</th>
            </tr>
          </thead>
          <tbody>
            <tr v-for="one in data" :key="one.name">
              <th scope="row">{{ one.name }} <span class="chip">{{ one.class }}</span></th>
              <td class="number">{{ one.serving }} served<template v-if="one.queued">, {{ one.queued }} waiting</template></td>
              <td class="number"><b>{{ one.rate }}</b></td>
              <td class="line"><svg viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true"><polyline v-if="one.line" :points="one.line" /></svg></td>
              <td class="number">{{ one.speed }}</td>
              <td class="number">{{ one.wait }} / {{ one.wait_p95 }}</td>
              <td class="number">{{ one.ttft }} / {{ one.ttft_p95 }}</td>
              <td class="number">{{ one.used }}</td>
              <td class="number">{{ one.requests }}<span v-if="one.trouble" class="trouble" :title="one.refused + ' refused, ' + one.failed + ' failed'"> ({{ one.trouble }} not served)</span></td>
            </tr>
          </tbody>
        </table>
      </div>
    </section>`,
};
