// The page: what is chosen, and who has to hear of it.
import { byId, make } from "./dom.js";
import { Easel } from "./easel.js";
import { json, unpacked } from "./files.js";
import { Journey } from "./journey.js";
import { showLayers } from "./operators.js";
import { Runner } from "./runner.js";
import { Answers } from "./table.js";
import { showWays } from "./ways.js";

const STEPS = ["half", "base", "double"];
const FIRST = "pde"; // the net that is looked into first

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });

async function start() {
  const description = await json("demo.json");
  const samples = await unpacked(description.samples.file);
  byId("runtime-version").textContent = description.runtime.version;
  new Page(description, samples);
}

class Page {
  constructor(description, samples) {
    const { nets, classes, side } = description;
    this.nets = new Map(nets.map((net) => [net.key, net]));
    this.classes = classes;
    this.state = { image: null, steps: "base", noise: 0, seed: 1, dropped: {}, net: FIRST };
    this.results = new Map();
    this.answers = new Answers(nets, classes);
    this.journey = new Journey(() => this.showInside());
    this.runner = new Runner(worker, this.order(), (key, result) => this.show(key, result));
    this.runner.idle = () => this.finished();
    this.controls(nets);
    new Easel({ side, classes, labels: description.samples.labels, samples },
      (pixels, label) => this.picture(pixels, label));
    this.look(FIRST);
    [...document.querySelectorAll("#samples button")].at(-2).click(); // a boot
  }

  /** The nets, the one that is looked into first. */
  order() {
    return [this.state.net, ...[...this.nets.keys()].filter((key) => key !== this.state.net)];
  }

  controls(nets) {
    const { state } = this;
    byId("steps").oninput = ({ target }) => { state.steps = STEPS[target.value]; this.disturb(); };
    byId("noise").oninput = ({ target }) => { state.noise = target.value / 100; this.disturb(); };
    byId("drop").oninput = ({ target }) => {
      state.dropped[state.net] = Number(target.value) - 1;
      this.disturb([state.net]);
    };
    byId("reseed").onclick = () => { state.seed += 1; this.disturb(); };
    byId("reset").onclick = () => {
      Object.assign(state, { steps: "base", noise: 0, dropped: {} });
      this.disturb();
    };
    byId("chooser").append(...nets.map((net) => {
      const input = make("input", { type: "radio", name: "net", value: net.key, checked: net.key === FIRST });
      input.onchange = () => this.look(net.key);
      return make("label", {}, input, net.title);
    }));
  }

  picture(pixels, label) {
    this.state.image = pixels;
    this.fresh ||= label !== null;
    this.answers.mark(label);
    this.wish(this.nets.keys());
  }

  /** The variant of a net that the slider asks for, where it has that. */
  variant(net) {
    return net.variants[this.state.steps] ? this.state.steps : "base";
  }

  dropped(net) {
    const place = this.state.dropped[net.key] ?? -1;
    return place < 0 ? null : Math.min(place, net.variants[this.variant(net)].stages.length - 1);
  }

  wish(keys) {
    const { image, noise, seed } = this.state;
    if (!image) return;
    document.body.dataset.state = "working";
    for (const key of keys) {
      const net = this.nets.get(key);
      this.runner.wish(key, {
        image, noise, seed, variant: this.variant(net), dropped: this.dropped(net),
        features: key === this.state.net,
      });
    }
  }

  disturb(keys = this.nets.keys()) {
    this.sliders();
    this.wish(keys);
  }

  /** What the sliders say. */
  sliders() {
    const { state } = this;
    const net = this.nets.get(state.net);
    const stages = net.variants[this.variant(net)].stages;
    byId("steps").value = STEPS.indexOf(state.steps);
    byId("noise").value = 100 * state.noise;
    byId("steps-out").textContent = { half: "half as many", base: "as trained", double: "twice as many" }[state.steps];
    byId("noise-out").textContent = state.noise ? `± ${Math.round(100 * state.noise)} %` : "none";
    const drop = byId("drop");
    drop.max = stages.length;
    drop.disabled = !net.gated;
    const place = this.dropped(net);
    drop.value = place === null ? 0 : place + 1;
    const words = place === null ? "none" : `block ${place + 1} of ${stages.length}`;
    byId("drop-out").textContent = net.gated ? words : "not possible";
    byId("drop-hint").textContent = net.gated
      ? `Of the ${net.title} net, the one you look inside below: its features pass by the block.`
      : "The Plain net, which you look inside below, has no shortcut to pass by a layer.";
    byId("steps-hint").textContent = "Blocks are steps of an equation: half as many are longer, twice as many half as long." +
      [...this.nets.values()].filter((other) => other.fixed).map((other) => ` Not ${other.title}: ${other.fixed}.`).join("");
    const moved = Object.values(state.dropped).some((k) => k >= 0);
    byId("reset").disabled = state.steps === "base" && !state.noise && !moved;
    document.body.classList.toggle("disturbed", !byId("reset").disabled);
  }

  look(key) {
    this.state.net = key;
    this.runner.order = this.order();
    this.fresh = true;
    const net = this.nets.get(key);
    byId("about").innerHTML =
      `${net.about} <span class="equation">${net.equation}</span> ` +
      `<span class="facts">${net.parameters.toLocaleString("en")} parameters; right on ${net.accuracy.toFixed(2)} % of the test images.</span>`;
    this.sliders();
    this.wish([key]);
    showLayers(net).catch((error) => { byId("layer-words").textContent = error.message; });
  }

  show(key, result) {
    if (result.error) console.warn(`${key}: ${result.error}`);
    this.answers.show(key, result);
    this.results.set(key, result);
    if (!result.error) this.first();
    if (key === this.state.net) this.showInside();
  }

  async showInside() {
    const key = this.state.net;
    const result = this.results.get(key);
    const inside = byId("inside");
    inside.classList.toggle("failed", Boolean(result?.error));
    if (!result || result.error || !result.now.features) return;
    const net = this.nets.get(key);
    const { variant, dropped } = result.wanted;
    const { fresh } = this;
    this.fresh = false;
    this.journey.show(net, variant, result.now, dropped, fresh);
    const { stages } = net.variants[variant];
    await showWays(net, stages, result.now, this.classes, this.journey.place, fresh)
      .catch((error) => byId("ways").replaceChildren(`The ways cannot be drawn: ${error.message}`));
  }

  first() {
    if (performance.getEntriesByName("first answer").length) return;
    performance.measure("first answer");
    byId("status").textContent = "";
  }

  finished() {
    document.body.dataset.state = "done";
    const failed = [...this.results].filter(([, result]) => result.error);
    const problem = byId("problem");
    problem.hidden = !failed.length;
    if (failed.length) {
      byId("status").textContent = "";
      const names = failed.map(([key]) => this.nets.get(key).title).join(", ");
      const rest = failed.length < this.nets.size ? " The others go on." : "";
      problem.textContent = `Did not run: ${names} (${failed[0][1].error}).${rest}`;
    }
  }
}

if (!document.documentElement.dataset.stopped) {
  start().catch((error) => {
    byId("status").textContent = "";
    const problem = byId("problem");
    problem.hidden = false;
    problem.textContent = `The page could not be loaded: ${error.message}. Is the folder complete?`;
    document.body.dataset.state = "failed";
  });
}
