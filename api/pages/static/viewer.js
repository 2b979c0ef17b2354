// Three planes of one volume with its overlay, or planar images one by one: slider, wheel, drag, keyboard, touch.

import { Flat } from "./flat.js";
import { Pane } from "./pane.js";
import { PLANES, Slices } from "./slices.js";

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(root) {
    this.root = root;
    this.planes = byId("planes");
    this.generation = 0;
    this.all = new Map();
    for (const element of this.planes.querySelectorAll(".pane")) {
      this.all.set(element.dataset.plane, new Pane(element, this));
    }
    this.layOut("planar" in root.dataset);
    this.flat = new Flat(byId("flat"));
    this.controls();
    this.open(root.dataset.source);
  }

  // Shows another series, or the same one again (`stay`) because findings came or went.
  async open(source, stay = false) {
    const generation = ++this.generation;
    this.slices?.close();
    this.slices = null;
    this.root.dataset.source = source;
    for (const pane of this.panes.values()) pane.tell("loading");
    try {
      const answer = await fetch(`${source}/geometry`);
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail ?? problem.title ?? "the image cannot be shown");
      }
      const geometry = await answer.json();
      if (generation !== this.generation) return;
      this.geometry = geometry;
      this.slices = geometry.pictures ? null : new Slices(source, geometry);
    } catch (error) {
      if (generation !== this.generation) return;
      for (const pane of this.panes.values()) pane.tell(error.message || "the image cannot be shown", true);
      return;
    }
    byId("caption").textContent = this.geometry.caption ?? "";
    if (this.slices) this.layOut(Boolean(this.geometry.planar));
    byId("flat").hidden = this.slices !== null;
    this.planes.hidden = byId("hint").hidden = this.slices === null;
    if (!this.slices) {
      byId("overlay-tool").hidden = byId("opacity-tool").hidden = byId("legend").hidden = true;
      byId("window").textContent = "";
      this.fillPresets();
      this.flat.open(source, this.geometry);
      return;
    }
    this.colours = new Map(this.geometry.segments.map(({ number, colour }) => [number, colour]));
    this.fillLegend();
    byId("overlay-tool").hidden = byId("opacity-tool").hidden = !this.geometry.overlay;
    for (const pane of this.panes.values()) pane.fit();
    if (stay && this.window) {
      this.draw();
    } else {
      this.fillPresets();
      this.reset();
    }
  }

  // The three planes of a volume, or the one image of planar series.
  layOut(planar) {
    this.panes = new Map([...this.all].filter(([, pane]) => Boolean(pane.planar) === planar));
    for (const [plane, pane] of this.all) pane.element.hidden = !this.panes.has(plane);
    this.root.toggleAttribute("data-planar", planar);
    this.planes.dataset.main = [...this.panes.keys()].find((plane) => plane === this.planes.dataset.main) ?? this.panes.keys().next().value;
  }

  fillPresets() {
    const options = this.geometry.windows.map((entry, place) => new Option(entry.name, String(place)));
    byId("preset").replaceChildren(...options, ...(this.slices ? [new Option("Own", "own")] : []));
  }

  // Names and colours, where there is more than one; the structure under the cross-hair is marked.
  fillLegend() {
    const { segments } = this.geometry;
    byId("legend").hidden = segments.length < 2;
    this.entries = new Map();
    byId("legend-list").replaceChildren(...segments.map(({ number, name, colour }) => {
      const entry = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.setProperty("--colour", `rgb(${colour.join(" ")})`);
      entry.append(swatch, name);
      this.entries.set(number, entry);
      return entry;
    }));
    byId("legend-count").textContent = `${segments.length} structures`;
  }

  markPointed() {
    if (byId("legend").hidden) return;
    const { across, down, through } = PLANES.axial;
    const slice = this.slices.ready("axial", this.at[through]);
    const entry = this.entries.get(slice?.labels?.[this.at[down] * slice.width + this.at[across]]);
    if (entry === this.pointed) return;
    this.pointed?.removeAttribute("aria-current");
    this.pointed = entry;
    entry?.setAttribute("aria-current", "true");
    const list = byId("legend-list");
    if (entry) list.scrollTop = entry.offsetTop - list.offsetTop - list.clientHeight / 2;
    byId("pointed").textContent = entry ? entry.textContent : "";
  }

  reset() {
    this.at = this.geometry.start ?? this.geometry.size.map((count) => count >> 1);
    byId("preset").value = "0";
    this.window = { ...this.geometry.windows[0] };
    this.draw();
  }

  index(plane) { return this.at[PLANES[plane].through]; }

  move(plane, index) {
    if (!this.slices) return;
    const { through } = PLANES[plane];
    const next = clamp(Math.round(index), 0, this.geometry.size[through] - 1);
    const direction = Math.sign(next - this.at[through]) || 1;
    if (next !== this.at[through]) {
      this.at = this.at.with(through, next);
      this.draw();
    }
    this.slices.ahead(plane, next, direction);
  }

  point(plane, column, row) {
    const { across, down, flip } = PLANES[plane];
    const size = this.geometry.size;
    this.at = this.at.with(across, clamp(Math.floor(column), 0, size[across] - 1));
    const index = clamp(Math.floor(row), 0, size[down] - 1);
    this.at = this.at.with(down, flip ? size[down] - 1 - index : index);
    this.draw();
  }

  setWindow(center, width) {
    const span = this.geometry.high - this.geometry.low || 1;
    const [narrow, wide] = this.window.width < 0 ? [-span * 3, -span / 500] : [span / 500, span * 3];
    this.window = { center: clamp(center, this.geometry.low - span, this.geometry.high + span), width: clamp(width, narrow, wide) };
    byId("preset").value = "own";
    this.draw();
  }

  nudgeWindow(level, width) {
    const span = this.geometry.high - this.geometry.low || 1;
    this.setWindow(this.window.center + level * span, this.window.width + width * span);
  }

  get overlay() { return this.geometry?.overlay && byId("overlay").checked; }
  get opacity() { return Number(byId("opacity").value) / 100; }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.slices) return;
      const { center, width } = this.window;
      const round = Math.abs(width) < 10 ? 2 : 0;
      byId("window").textContent = `W ${Math.abs(width).toFixed(round)} L ${center.toFixed(round)}`;
      for (const pane of this.panes.values()) pane.draw();
      this.markPointed();
    });
  }

  enlarge(plane) {
    this.planes.dataset.main = plane;
    for (const [name, pane] of this.panes) pane.pick.setAttribute("aria-pressed", String(name === plane));
  }

  controls() {
    byId("overlay").addEventListener("change", () => this.draw());
    byId("opacity").addEventListener("input", () => this.draw());
    byId("reset").addEventListener("click", () => {
      if (this.slices) this.reset();
      else if (this.geometry) this.flat.show({ index: 0, window: this.geometry.windows[0] });
    });
    byId("series")?.addEventListener("change", (event) => this.open(event.target.value));
    byId("preset").addEventListener("change", (event) => {
      const preset = this.geometry?.windows[Number(event.target.value)];
      if (preset && !this.slices) this.flat.show({ window: preset });
      else if (preset) this.window = { ...preset };
      this.draw();
    });
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("findings", () => this.open(this.root.dataset.source, true));
  }

  key(event) {
    if (!this.slices || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=range], [type=checkbox]), textarea, select")) return;
    const planes = [...this.panes.keys()];
    const acts = {
      o: () => { if (this.geometry.overlay) { byId("overlay").checked = !byId("overlay").checked; this.draw(); } },
      r: () => this.reset(),
    };
    planes.forEach((plane, place) => { acts[place + 1] = () => this.enlarge(plane); });
    acts[event.key.toLowerCase()]?.();
  }
}

const root = byId("viewer");
if (root) new Viewer(root);
