// Runs the nets, away from the page, which stays quick.
import { json, spreadWeights, unpacked } from "./files.js";
import { disturbed } from "./noise.js";

const nets = new Map(); // by key: { record, weights, graphs, sessions }
const description = json("demo.json");
const runtime = description.then((found) => openRuntime(found.runtime));
runtime.catch(() => {}); // told when it is asked for

async function openRuntime({ script, binary }) {
  const [ort, wasm] = await Promise.all([
    import(new URL(script, self.location.href).href), unpacked(binary),
  ]);
  ort.env.wasm.numThreads = 1; // more would need headers that static hosts do not send
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.logLevel = "error";
  return ort;
}

async function netOf(key) {
  if (!nets.has(key)) {
    const record = (await description).nets.find((net) => net.key === key);
    const weights = unpacked(`nets/${key}/weights.gz`).then((bytes) =>
      spreadWeights(bytes, record.weights.tensors, record.weights.numbers));
    weights.catch(() => {});
    nets.set(key, { record, weights, graphs: {}, sessions: new Map() });
  }
  return nets.get(key);
}

async function sessionOf(key, variant, noise, seed) {
  const net = await netOf(key);
  const name = noise ? `${variant} ${noise} ${seed}` : variant;
  if (!net.sessions.has(name)) {
    for (const [other, session] of net.sessions) {
      if (!other.includes(" ")) continue; // without noise: kept
      net.sessions.delete(other);
      session.then((old) => old.release()).catch(() => {});
    }
    net.sessions.set(name, open(net, key, variant, noise, seed));
  }
  return net.sessions.get(name);
}

async function open(net, key, variant, noise, seed) {
  net.graphs[variant] ??= unpacked(`nets/${key}/${variant}.onnx.gz`);
  const [ort, graph, clean] = await Promise.all([runtime, net.graphs[variant], net.weights]);
  const weights = noise ? disturbed(clean, net.record.weights.tensors, noise, seed) : clean;
  return ort.InferenceSession.create(graph, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "disabled", // it was done when the page was written
    externalData: [{ path: "weights", data: new Uint8Array(weights.buffer) }],
  });
}

async function run({ net, image, variant, noise, seed, dropped, features }) {
  const session = await sessionOf(net, variant, noise, seed);
  const ort = await runtime;
  const { record } = await netOf(net);
  const { side } = await description;
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", image, [1, side, side, 1]) };
  if (record.gated) {
    const gates = new Float32Array(record.variants[variant].stages.length).fill(1);
    if (dropped !== null) gates[dropped] = 0;
    feeds[session.inputNames[1]] = new ort.Tensor("float32", gates, [1, gates.length]);
  }
  const start = performance.now();
  const outputs = await session.run(feeds);
  const milliseconds = performance.now() - start;
  const [answer, changes, ...maps] = session.outputNames.map((name) => outputs[name]);
  return {
    probabilities: answer.data.slice(), changes: changes.data.slice(), milliseconds,
    features: features ? maps.map((map) => ({ shape: map.dims.slice(1), data: map.data.slice() })) : null,
  };
}

async function answer({ data }) {
  try {
    if (data.fetch) {
      for (const key of data.fetch) {
        const net = await netOf(key);
        net.graphs.base ??= unpacked(`nets/${key}/base.onnx.gz`);
        net.graphs.base.catch(() => {});
      }
      return;
    }
    postMessage({ id: data.id, result: await run(data) });
  } catch (error) {
    postMessage({ id: data.id, error: String(error?.message ?? error) });
  }
}

// One after the other: a session runs once at a time.
let last = Promise.resolve();
onmessage = (event) => { last = last.then(() => answer(event)); };
