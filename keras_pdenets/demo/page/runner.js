// Asks the worker for runs; of each net only the newest wish counts.

export class Runner {
  /** `show(key, result)` gets { clean, now, wanted } or { error, wanted }. */
  constructor(worker, order, show) {
    this.worker = worker;
    this.waiting = new Map(); // by id: [resolve, reject]
    this.wishes = new Map(); // by key of the net
    this.ids = 0;
    this.busy = false;
    this.order = order;
    this.show = show;
    this.worker.onmessage = ({ data }) => {
      const [resolve, reject] = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error === undefined) resolve(data.result);
      else reject(new Error(data.error));
    };
    this.worker.onerror = (event) => {
      for (const [, reject] of this.waiting.values()) reject(new Error(event.message || "the worker does not start"));
      this.waiting.clear();
    };
  }

  ask(message) {
    const id = ++this.ids;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, [resolve, reject]);
      this.worker.postMessage({ id, ...message });
    });
  }

  /** Wish for a run; the nets come in the order of `this.order`. */
  wish(key, wanted) {
    this.wishes.set(key, wanted);
    this.work();
  }

  async work() {
    if (this.busy) return;
    this.busy = true;
    while (this.wishes.size) {
      const key = this.order.find((one) => this.wishes.has(one));
      const wanted = this.wishes.get(key);
      this.wishes.delete(key);
      try {
        const plain = { ...wanted, variant: "base", noise: 0, dropped: null };
        const same = ["variant", "noise", "dropped"].every((name) => plain[name] === wanted[name]);
        const now = await this.ask({ net: key, ...wanted });
        const clean = same ? now : await this.ask({ net: key, ...plain, features: false });
        this.show(key, { clean, now, wanted });
      } catch (error) {
        this.show(key, { error: error.message, wanted });
      }
      if (!this.fetched) { // the first answer is there: now the other nets, all at once
        this.fetched = true;
        this.worker.postMessage({ fetch: this.order });
      }
    }
    this.busy = false;
    this.idle?.();
  }
}
