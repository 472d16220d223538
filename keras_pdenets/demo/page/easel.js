// The picture: drawn by mouse, finger or keyboard, chosen from the samples, or a file of one's own.
import { byId, drawGrey, make } from "./dom.js";
import { readPicture } from "./pictures.js";

export class Easel {
  /** `changed(pixels, label)` is called with grey values 0-255, and the class of a sample or null. */
  constructor({ side, classes, labels, samples }, changed) {
    Object.assign(this, { side, changed, erasing: false, cursor: null });
    this.pixels = new Float32Array(side * side);
    this.canvas = byId("easel");
    this.advice = byId("file-note").textContent;
    this.pointer();
    this.keyboard();
    this.buttons();
    this.samples(samples, labels, classes);
  }

  show(pixels, label = null) {
    this.pixels = Float32Array.from(pixels);
    this.update(label);
  }

  update(label = null) {
    drawGrey(this.canvas, this.pixels, this.side);
    if (this.cursor && document.activeElement === this.canvas) this.drawCursor();
    for (const button of document.querySelectorAll("#samples button")) {
      button.setAttribute("aria-pressed", String(label !== null && button === this.chosen));
    }
    this.changed(this.pixels.slice(), label);
  }

  drawCursor() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#ffb000";
    context.fillRect(...this.cursor, 1, 1);
  }

  paint(x, y) {
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const px = Math.floor(x) + dx, py = Math.floor(y) + dy;
        if (px < 0 || py < 0 || px >= this.side || py >= this.side) continue;
        const ink = dx && dy ? 90 : dx || dy ? 180 : 255; // a soft brush of 3 x 3
        const i = py * this.side + px;
        this.pixels[i] = this.erasing ? Math.min(this.pixels[i], 255 - ink) : Math.max(this.pixels[i], ink);
      }
    }
  }

  pointer() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
        .map((share) => share * this.side);
    };
    let last = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      last = place(event);
      this.cursor = null;
      this.paint(...last);
      this.update();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const next = place(event);
      const steps = Math.ceil(Math.hypot(next[0] - last[0], next[1] - last[1]) * 2) || 1;
      for (let k = 1; k <= steps; k++) {
        this.paint(last[0] + ((next[0] - last[0]) * k) / steps, last[1] + ((next[1] - last[1]) * k) / steps);
      }
      last = next;
      this.update();
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(name, () => { last = null; });
    }
  }

  keyboard() {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.canvas.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move && event.key !== " ") return;
      event.preventDefault();
      this.cursor ??= [this.side / 2, this.side / 2];
      if (move) {
        this.cursor = this.cursor.map((c, i) => Math.min(this.side - 1, Math.max(0, c + move[i])));
        drawGrey(this.canvas, this.pixels, this.side);
        this.drawCursor();
      } else {
        this.paint(...this.cursor);
        this.update();
      }
    });
    this.canvas.addEventListener("blur", () => {
      this.cursor = null;
      drawGrey(this.canvas, this.pixels, this.side);
    });
  }

  buttons() {
    byId("clear").onclick = () => this.show(new Float32Array(this.side ** 2));
    byId("invert").onclick = () => this.show(this.pixels.map((value) => 255 - value));
    byId("erase").onclick = ({ currentTarget }) => {
      this.erasing = !this.erasing;
      currentTarget.setAttribute("aria-pressed", String(this.erasing));
    };
    byId("file").onchange = async ({ currentTarget: input }) => {
      if (input.files.length) await this.read(input.files[0]);
      input.value = ""; // the same file can be chosen again
    };
    this.canvas.addEventListener("dragover", (event) => event.preventDefault());
    this.canvas.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.read(event.dataTransfer.files[0]);
    });
  }

  async read(file) {
    const note = byId("file-note");
    try {
      const { pixels, inverted } = await readPicture(file, this.side);
      note.textContent = inverted
        ? `“${file.name}”, inverted: the nets know clothes that are light on dark.`
        : `“${file.name}”.`;
      note.className = "hint";
      this.show(pixels);
    } catch (error) {
      note.textContent = error.message;
      note.className = "problem";
    }
  }

  samples(bytes, labels, classes) {
    const size = this.side ** 2;
    labels.forEach((label, i) => {
      const pixels = bytes.slice(i * size, (i + 1) * size);
      const canvas = make("canvas", { "aria-hidden": "true" });
      drawGrey(canvas, pixels, this.side);
      const twin = labels.slice(0, i).includes(label) ? 2 : 1;
      const button = make("button", {
        type: "button", title: classes[label], "aria-pressed": "false",
        "aria-label": `Test image: ${classes[label]} ${twin}`,
      }, canvas);
      button.onclick = () => {
        this.chosen = button;
        byId("file-note").textContent = this.advice;
        byId("file-note").className = "hint";
        this.show(pixels, label);
      };
      byId("samples").append(button);
    });
  }
}
