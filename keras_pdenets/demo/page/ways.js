// The way of the picture's features, in the plane of each stage, among the ways of the classes.
import { byId, make, makeSvg } from "./dom.js";
import { fromHalf, unpacked } from "./files.js";

const WIDTH = 360, HEIGHT = 260, EDGE = 16;
const planes = new Map(); // by key of the net: promises

function planesOf(net, features) {
  if (!planes.has(net.key)) {
    planes.set(net.key, unpacked(`nets/${net.key}/planes.gz`).then((bytes) => {
      const numbers = fromHalf(new Uint16Array(bytes.buffer));
      let start = 0;
      return features.map((length) => [0, 1].map(() => numbers.subarray(start, (start += length))));
    }));
  }
  return planes.get(net.key);
}

/** Points of the features in their stages' planes. */
export async function project(net, stages, features) {
  const sizes = net.stages.map((_, s) => features[stages.indexOf(s)].data.length);
  const found = await planesOf(net, sizes);
  return features.map(({ data }, k) => found[stages[k]].map((direction, axis) => {
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum += direction[i] * data[i];
    return sum - net.stages[stages[k]].offset[axis];
  }));
}

let newest = null;

/** Draw the ways of a result; `fresh`: they draw themselves before one's eyes. */
export async function showWays(net, stages, result, classes, place, fresh) {
  newest = result;
  const points = await project(net, stages, result.features);
  const best = result.probabilities.indexOf(Math.max(...result.probabilities));
  const pictures = net.stages.map((stage, s) => {
    const own = points.filter((_, k) => stages[k] === s);
    const first = stages.indexOf(s);
    return picture(stage, own, classes, best, place - first, s);
  });
  if (newest !== result) return; // another one was asked for meanwhile
  byId("ways").classList.toggle("fresh", fresh);
  byId("ways").replaceChildren(...pictures);
}

function picture({ classes: ways, explained }, own, classes, best, place, number) {
  const all = [...ways.flat(), ...own];
  const [x, y] = [0, 1].map((axis) => {
    const values = all.map((point) => point[axis]);
    const low = Math.min(...values), span = Math.max(...values) - low || 1;
    const length = axis ? HEIGHT : WIDTH;
    const right = axis ? EDGE : 6 * EDGE; // room for names
    return (value) => EDGE + ((value - low) / span) * (length - EDGE - right);
  });
  const text = ([a, b]) => `${x(a).toFixed(1)},${(HEIGHT - y(b)).toFixed(1)}`;
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  svg.append(makeSvg("title", {}, `Stage ${number + 1}: the picture's way, near which it ends: ${nearest(ways.at(-1), own.at(-1), classes)}`));
  const names = classes.map((name, c) => {
    const way = ways.map((line) => line[c]);
    const group = makeSvg("g", { class: c === best ? "way answer" : "way" });
    if (way.length > 1) group.append(makeSvg("polyline", { points: way.map(text).join(" ") }));
    const [px, py] = text(way.at(-1)).split(",").map(Number);
    group.append(makeSvg("circle", { cx: px, cy: py, r: 3 }));
    svg.append(group);
    return { name, px, py, c };
  });
  const mine = makeSvg("g", { class: "mine" });
  mine.append(makeSvg("polyline", { points: own.map(text).join(" "), pathLength: 1 }));
  own.forEach((point, k) => {
    const [cx, cy] = text(point).split(",");
    mine.append(makeSvg("circle", { cx, cy, r: k === place ? 6 : 3.5, class: k === place ? "here" : "" }));
  });
  svg.append(mine);
  spread(names);
  for (const { name, px, py, c } of names) {
    svg.append(makeSvg("text", { x: px + 6, y: py + 3.5, class: c === best ? "answer" : "" }, name));
  }
  const share = Math.round(100 * (explained[0] + explained[1]));
  return make("figure", {}, svg, make("figcaption", {},
    `Stage ${number + 1}: this plane holds ${share} % of how the classes move.`));
}

/** Move names apart that would lie on one another. */
function spread(names) {
  names.sort((a, b) => a.py - b.py);
  for (let round = 0; round < 30; round++) {
    for (let i = 1; i < names.length; i++) {
      for (let j = 0; j < i; j++) {
        const [a, b] = [names[j], names[i]];
        const gap = 10 - Math.abs(b.py - a.py);
        if (gap > 0 && Math.abs(a.px - b.px) < 60) {
          const down = b.py >= a.py ? 1 : -1;
          a.py -= (down * gap) / 2;
          b.py += (down * gap) / 2;
        }
      }
    }
  }
  for (const name of names) name.py = Math.min(HEIGHT - 6, Math.max(8, name.py));
}

function nearest(ends, [px, py], classes) {
  const far = ends.map(([x, y]) => Math.hypot(x - px, y - py));
  return classes[far.indexOf(Math.min(...far))];
}
