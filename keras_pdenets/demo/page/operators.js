// The kernels of a layer as small pictures, with the differential operators that they are.
import { byId, make } from "./dom.js";
import { unpacked } from "./files.js";

const TERMS = ["∂<sub>xx</sub>", "∂<sub>yy</sub>", "∂<sub>xy</sub>", "∂<sub>x</sub>", "∂<sub>y</sub>", ""];
const WORDS = { diffusion: "second derivatives", mixed: "mixed ones", transport: "first derivatives", reaction: "the value itself" };
const tables = new Map();

function tableOf(key) {
  if (!tables.has(key)) {
    tables.set(key, unpacked(`nets/${key}/operators.json.gz`)
      .then((bytes) => JSON.parse(new TextDecoder().decode(bytes))));
  }
  return tables.get(key);
}

let newest = null;

export async function showLayers(net) {
  newest = net;
  const table = await tableOf(net.key);
  if (newest !== net) return;
  const select = byId("layer");
  select.replaceChildren(...table.map(({ layer }, k) => make("option", { value: k }, layer)));
  select.value = Math.min(1, table.length - 1);
  select.onchange = () => show(table[select.value]);
  show(table[select.value]);
}

function show({ shape, kernels, shares, held }) {
  byId("layer-words").textContent = `${shape[1] > 1 ? `${shape[0]} × ${shape[1]}` : shape[0]} kernels. ` + (shares
    ? `${Math.round(100 * held)} % of their energy is a differential operator of second order; of that, ` +
      Object.entries(shares).map(([term, share]) => `${Math.round(100 * share)} % ${WORDS[term]}`).join(", ") + "."
    : "Each of these derivatives is multiplied by a mixture of the features.");
  byId("operators").replaceChildren(...kernels.map(picture));
}

function picture({ from, to, values, factors, held }) {
  const reach = Math.max(...values.map(Math.abs), 1e-12);
  const cells = values.map((value) => {
    const cell = make("span");
    cell.style.setProperty("--strength", `${(100 * Math.abs(value)) / reach}%`);
    cell.className = value < 0 ? "minus" : "plus";
    return cell;
  });
  const label = `Kernel from channel ${from + 1} to ${to + 1}: ${values.join(", ")}`;
  return make("figure", {},
    make("div", { className: "kernel", role: "img", "aria-label": label }, ...cells),
    make("figcaption", { innerHTML: equation(factors, held) }));
}

/** The terms that matter, the largest first. All of it is made of numbers. */
function equation(factors, held) {
  const largest = Math.max(...factors.map(Math.abs));
  const terms = factors
    .map((factor, k) => ({ factor, k }))
    .filter(({ factor }) => Math.abs(factor) > 0.1 * largest)
    .sort((a, b) => Math.abs(b.factor) - Math.abs(a.factor))
    .map(({ factor, k }, place) => {
      const sign = factor < 0 ? "−" : place ? "+" : "";
      const size = Number(Math.abs(factor).toPrecision(2));
      const number = size === 1 ? "" : `${size}&thinsp;`;
      return `<span class="term">${sign}${place ? "&thinsp;" : ""}${number}${TERMS[k]}u</span>`;
    });
  const rest = held < 0.995 ? ` <span class="rest">+ rest, ${Math.round(100 * (1 - held))} %</span>` : "";
  return terms.join(" ") + rest;
}
