// Slices of one volume, or planar images, fetched once, kept within a budget of memory, and asked for ahead of the reader.

const BUDGET_BYTES = 160 * 2 ** 20;
const CONCURRENT = 4;
const AHEAD = 8;
const BEHIND = 2;

const ARRAYS = { int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array, float32: Float32Array };

// How the three axes (x to the patient's left, y to the back, z to the head) lie in each plane. Rows of coronal and
// sagittal images run from the head down, so the index z is counted from the other end.
export const PLANES = {
  axial: { across: 0, down: 1, through: 2, flip: false, letters: { l: "R", r: "L", t: "A", b: "P" } },
  coronal: { across: 0, down: 2, through: 1, flip: true, letters: { l: "R", r: "L", t: "S", b: "I" } },
  sagittal: { across: 1, down: 2, through: 0, flip: true, letters: { l: "A", r: "P", t: "S", b: "I" } },
  frame: { across: 0, down: 1, through: 2, flip: false, letters: {}, planar: true },
};

export class Slices {
  constructor(source, geometry) {
    this.source = source;
    this.geometry = geometry;
    this.query = new URLSearchParams({ version: geometry.version, ...(geometry.overlay ? { overlay: geometry.overlay } : {}) });
    this.kept = new Map();
    this.bytes = 0;
    this.waiting = [];
    this.running = 0;
    this.closed = new AbortController();
  }

  size(plane) {
    const { across, down, through } = PLANES[plane];
    const dims = this.geometry.size;
    return { width: dims[across], height: dims[down], count: dims[through] };
  }

  // The slice when it is here already, else null.
  ready(plane, index) {
    return this.kept.get(`${plane}/${index}`)?.slice ?? null;
  }

  get(plane, index) {
    const key = `${plane}/${index}`;
    const known = this.kept.get(key);
    if (known) {
      this.kept.delete(key);
      this.kept.set(key, known);
      if (!known.slice) this.hurry(key);
      return known.promise;
    }
    const entry = { slice: null, promise: null };
    entry.promise = new Promise((resolve, reject) => {
      this.waiting.unshift({ key, plane, index, entry, resolve, reject });
    });
    this.kept.set(key, entry);
    this.next();
    return entry.promise;
  }

  ahead(plane, index, direction) {
    const { count } = this.size(plane);
    const wanted = [];
    for (let step = AHEAD; step >= 1; step--) wanted.push(index + step * direction);
    for (let step = 1; step <= BEHIND; step++) wanted.unshift(index - step * direction);
    for (const other of wanted) {
      if (other >= 0 && other < count && !this.kept.has(`${plane}/${other}`)) this.get(plane, other).catch(() => {});
    }
  }

  hurry(key) {
    const place = this.waiting.findIndex((item) => item.key === key);
    if (place > 0) this.waiting.unshift(...this.waiting.splice(place, 1));
  }

  next() {
    while (this.waiting.length > 60) this.drop(this.waiting.pop());
    while (this.running < CONCURRENT && this.waiting.length) {
      const item = this.waiting.shift();
      this.running += 1;
      this.fetch(item).finally(() => { this.running -= 1; this.next(); });
    }
  }

  drop(item) {
    this.kept.delete(item.key);
    item.reject(new DOMException("passed by", "AbortError"));
  }

  async fetch({ key, plane, index, entry, resolve, reject }) {
    try {
      const answer = await fetch(`${this.source}/${plane}/${index}?${this.query}`, { signal: this.closed.signal });
      if (!answer.ok) throw new Error(`slice ${answer.status}`);
      entry.slice = this.read(plane, await answer.arrayBuffer());
      this.bytes += entry.slice.bytes;
      this.forget();
      resolve(entry.slice);
    } catch (error) {
      this.kept.delete(key);
      reject(error);
    }
  }

  // Pixels first, then (where there is an overlay) the number of a segment for each.
  read(plane, buffer) {
    const { width, height } = this.size(plane);
    const pixels = new ARRAYS[this.geometry.dtype](buffer, 0, width * height);
    const labels = this.geometry.overlay ? new ARRAYS[this.geometry.labels](buffer.slice(pixels.byteLength)) : null;
    return { width, height, pixels, labels, bytes: buffer.byteLength };
  }

  forget() {
    for (const [key, entry] of this.kept) {
      if (this.bytes <= BUDGET_BYTES) return;
      if (entry.slice) {
        this.bytes -= entry.slice.bytes;
        this.kept.delete(key);
      }
    }
  }

  close() {
    this.closed.abort();
    for (const item of this.waiting.splice(0)) this.drop(item);
  }
}
