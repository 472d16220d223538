// The features behind each block: colour pictures, and the channels of the chosen one.
import { byId, make, percent } from "./dom.js";

/**
 * A stage's colours, the same for all its blocks: the first component of the channels is light, the
 * two next are colour.
 */
function colourPicture(canvas, { shape: [height, width, channels], data }, { mean, axes, reach }) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    const [light, blue, red] = axes.map((axis, c) => {
      let sum = 0;
      for (let k = 0; k < channels; k++) sum += axis[k] * (data[p * channels + k] - mean[k]);
      return sum / reach[c];
    });
    const parts = [light + red, light - 0.35 * blue - 0.5 * red, light + blue];
    image.data.set([...parts.map((part) => 118 + 92 * part), 255], 4 * p);
  }
  context.putImageData(image, 0, 0);
}

export class Journey {
  /** `chosen(place)` is called when a block is chosen. */
  constructor(chosen) {
    this.chosen = chosen;
    this.place = null;
  }

  /** Show a result of a net; a block that was chosen stays so. */
  show(net, variant, result, dropped, fresh) {
    const { stages, names, changed } = net.variants[variant];
    const key = `${net.key} ${variant}`;
    if (this.key !== key) this.build(net, stages, names, key);
    this.place = Math.min(this.place ?? 0, stages.length - 1);
    const largest = Math.max(...result.changes);
    this.figures.forEach(({ button, canvas, words, bar }, k) => {
      colourPicture(canvas, result.features[k], net.stages[stages[k]]);
      const change = changed.indexOf(k);
      const out = k === dropped;
      words.textContent = out ? "out" : change < 0 ? "–" : percent(result.changes[change]);
      bar.style.width = change < 0 ? 0 : `${(100 * result.changes[change]) / largest}%`;
      button.style.setProperty("--k", k);
      button.dataset.change = change < 0 ? "" : result.changes[change];
      button.classList.toggle("out", out);
      button.setAttribute("aria-pressed", String(k === this.place));
    });
    this.result = result;
    this.channels(net);
    const holder = byId("journey");
    holder.classList.remove("fresh");
    if (!fresh) return;
    void holder.offsetWidth; // so that the animation starts again
    holder.classList.add("fresh");
  }

  build(net, stages, names, key) {
    if (this.key && this.key.split(" ")[0] !== net.key) this.place = null;
    this.key = key;
    const kind = net.gated ? "Block" : "Layer";
    this.figures = [];
    const groups = [];
    stages.forEach((stage, k) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const words = make("span", { className: "change" });
      const bar = make("span", { className: "bar" });
      const button = make("button", { type: "button", title: names[k], "aria-pressed": "false" },
        make("span", { className: "name" }, make("span", { className: "hidden" }, `${kind} `), String(k + 1)),
        canvas, words, bar);
      button.onclick = () => {
        this.place = k;
        this.chosen(k);
      };
      this.figures.push({ button, canvas, words, bar });
      if (k === 0 || stages[k - 1] !== stage) {
        groups.push(make("div", { role: "group", "aria-label": `Stage ${stage + 1}` }));
      }
      groups.at(-1).append(button);
    });
    byId("journey").classList.toggle("many", stages.length > 9);
    byId("journey").replaceChildren(...groups);
  }

  channels(net) {
    const { shape: [height, width, channels], data } = this.result.features[this.place];
    const kind = net.gated ? "block" : "layer";
    byId("channels-title").textContent = `The ${channels} channels behind ${kind} ${this.place + 1}`;
    const holder = byId("channels");
    holder.style.setProperty("--columns", channels > 16 ? 8 : 4);
    if (holder.children.length !== channels) {
      holder.replaceChildren(...Array.from({ length: channels }, (_, k) =>
        make("canvas", { role: "img", "aria-label": `Channel ${k + 1}` })));
    }
    let reach = 1e-12;
    for (const value of data) reach = Math.max(reach, Math.abs(value));
    [...holder.children].forEach((canvas, k) => {
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d");
      const image = context.createImageData(width, height);
      for (let p = 0; p < width * height; p++) {
        const value = data[p * channels + k] / reach;
        // Orange above zero, blue below, black at zero; the root lifts what is small.
        const light = 255 * Math.sqrt(Math.abs(value));
        image.data.set(value > 0 ? [light, 0.62 * light, 0.15 * light, 255] : [0.2 * light, 0.6 * light, light, 255], 4 * p);
      }
      context.putImageData(image, 0, 0);
    });
  }
}
