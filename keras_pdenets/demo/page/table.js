// The answers of the nets, side by side.
import { byId, make, percent } from "./dom.js";

export class Answers {
  constructor(nets, classes) {
    this.nets = nets;
    this.classes = classes;
    const head = make("tr", {}, make("th", { scope: "col" }, make("span", { className: "hidden" }, "Class")));
    for (const net of nets) {
      head.append(make("th", { scope: "col", title: `${net.about} Right on ${net.accuracy} % of the test set.` },
        net.title.replace(/^(Decom|Hyper)/, "$1\u00ad")));
    }
    this.says = new Map();
    this.cells = new Map();
    const verdict = make("tr", { className: "verdict" }, make("th", { scope: "row" }, "says"));
    for (const net of nets) {
      const cell = make("td", {}, "…");
      cell.dataset.net = net.key;
      this.says.set(net.key, cell);
      verdict.append(cell);
    }
    this.echoes = new Map(nets.map((net) => [net.key, make("li")]));
    byId("echo").append(...this.echoes.values());
    this.rows = classes.map((name) => make("tr", {}, make("th", { scope: "row" }, name)));
    for (const net of nets) {
      this.cells.set(net.key, this.rows.map((row, k) => {
        const cell = make("td");
        cell.dataset.net = net.key;
        cell.dataset.class = k;
        row.append(cell);
        return cell;
      }));
    }
    byId("table").append(make("thead", {}, head), make("tbody", {}, verdict, ...this.rows));
  }

  /** Mark the class of the sample that is shown, or none. */
  mark(label) {
    this.rows.forEach((row, k) => {
      row.classList.toggle("true", k === label);
      row.firstChild.textContent = this.classes[k];
      if (k === label) row.firstChild.append(make("span", { className: "tag" }, " true class"));
    });
  }

  show(key, { clean, now, error }) {
    const says = this.says.get(key);
    const cells = this.cells.get(key);
    says.classList.toggle("failed", Boolean(error));
    if (error) {
      says.textContent = "did not run";
      this.echo(key, says);
      says.title = error;
      for (const cell of cells) {
        cell.textContent = "";
        cell.removeAttribute("style");
        delete cell.dataset.probability;
      }
      return;
    }
    says.title = "";
    const best = argmax(now.probabilities), before = argmax(clean.probabilities);
    says.replaceChildren(Number.isFinite(now.probabilities[best]) ? this.classes[best] : "not a number");
    says.classList.toggle("changed", clean !== now && best !== before);
    if (clean !== now && best !== before) says.append(make("small", {}, `was ${this.classes[before]}`));
    this.echo(key, says);
    cells.forEach((cell, k) => {
      const share = now.probabilities[k];
      cell.textContent = percent(share);
      cell.dataset.probability = share;
      cell.style.setProperty("--share", share);
      const moved = Math.abs(clean.probabilities[k] - share) > 0.01;
      cell.style.setProperty("--before", moved ? clean.probabilities[k] : -1);
      cell.classList.toggle("best", k === best);
      cell.classList.toggle("faint", share < 0.005);
    });
  }

  /** The same words beside the sliders, where the table is out of sight. */
  echo(key, says) {
    const echo = this.echoes.get(key);
    const { title } = this.nets.find((net) => net.key === key);
    echo.replaceChildren(`${title} `, make("b", {}, says.firstChild.textContent));
    if (says.children.length) echo.append(" ", says.lastChild.cloneNode(true));
    echo.classList.toggle("changed", says.classList.contains("changed"));
  }
}

const argmax = (values) => values.reduce((best, value, k) => (value > values[best] ? k : best), 0);
