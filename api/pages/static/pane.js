// One plane, or the planar images: draws a slice with window, overlay and cross-hair, and turns gestures into movements.

import { PLANES } from "./slices.js";

const STILL_PX = 4;
const SWIPE_PX = 9;
const PLAIN = [230, 160, 40];

export class Pane {
  constructor(element, viewer) {
    this.viewer = viewer;
    this.element = element;
    this.plane = element.dataset.plane;
    this.name = element.querySelector(".pick").textContent;
    this.screen = element.querySelector(".screen");
    this.canvas = element.querySelector("canvas");
    this.slider = element.querySelector(".slice");
    this.position = element.querySelector("[data-position]");
    this.busy = element.querySelector("[data-busy]");
    this.pick = element.querySelector(".pick");
    this.image = document.createElement("canvas");
    this.mask = document.createElement("canvas");
    this.box = { left: 0, top: 0, scaleX: 1, scaleY: 1 };
    for (const [edge, letter] of Object.entries(PLANES[this.plane].letters)) {
      element.querySelector(`.edge.${edge}`).textContent = letter;
    }
    new ResizeObserver(() => viewer.draw()).observe(this.screen);
    this.listen();
  }

  tell(text, wrong = false) {
    this.busy.hidden = !text;
    this.busy.textContent = text;
    this.busy.classList.toggle("wrong", wrong);
  }

  fit() {
    const { count } = this.viewer.slices.size(this.plane);
    this.slider.max = String(count);
    this.slider.disabled = count < 2;
    this.slider.hidden = this.planar && count < 2;
    if (this.planar) {
      const { size: [columns, rows], spacing_mm: [x, y] } = this.viewer.geometry;
      this.screen.style.setProperty("--shape", String(Math.min(Math.max((columns * x) / (rows * y), 0.7), 1.6)));
    }
    this.tell("");
  }

  get planar() { return PLANES[this.plane].planar; }

  draw() {
    const { viewer, plane } = this;
    const index = viewer.index(plane);
    const { count } = viewer.slices.size(plane);
    const { through } = PLANES[plane];
    this.slider.value = String(index + 1);
    this.slider.setAttribute("aria-valuetext", `${this.name} ${this.planar ? "" : "slice "}${index + 1} of ${count}`);
    this.position.textContent = `${index + 1}/${count}`;
    if (this.planar) {
      this.pick.textContent = viewer.geometry.frames[index] || this.name;
    } else {
      const at = (index - (count - 1) / 2) * viewer.geometry.spacing_mm[through];
      this.position.title = `${at.toFixed(1)} mm from the middle`;
    }
    const slice = viewer.slices.ready(plane, index);
    if (slice) {
      this.tell("");
      this.paint(slice);
      return;
    }
    clearTimeout(this.slow);
    this.slow = setTimeout(() => { if (!viewer.slices?.ready(plane, viewer.index(plane))) this.tell("loading"); }, 150);
    const slices = viewer.slices;
    slices.get(plane, index).then(
      () => { if (slices === viewer.slices && viewer.index(plane) === index) viewer.draw(); },
      (error) => { if (error.name !== "AbortError" && slices === viewer.slices) this.tell("this slice cannot be loaded", true); },
    );
  }

  paint(slice) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.screen.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.screen.clientHeight * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const { across, down } = PLANES[this.plane];
    const [mmX, mmY] = [this.viewer.geometry.spacing_mm[across], this.viewer.geometry.spacing_mm[down]];
    const [rows, columns] = this.viewer.geometry.sizes?.[this.viewer.index(this.plane)] ?? [slice.height, slice.width];
    const scale = Math.min(width / (columns * mmX), height / (rows * mmY));
    const box = { scaleX: scale * mmX, scaleY: scale * mmY };
    box.left = (width - columns * box.scaleX) / 2;
    box.top = (height - rows * box.scaleY) / 2;
    this.box = { ...box, ratio };
    this.grey(slice);
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    const target = [0, 0, columns, rows, box.left, box.top, columns * box.scaleX, rows * box.scaleY];
    context.drawImage(this.image, ...target);
    if (this.viewer.overlay && slice.labels) {
      this.tint(slice);
      context.drawImage(this.mask, ...target);
    }
    if (!this.planar) this.cross(context, slice, ratio);
  }

  grey(slice) {
    const { center, width } = this.viewer.window;
    const low = center - width / 2;
    const factor = 255 / width;
    const context = sized(this.image, slice);
    const image = context.createImageData(slice.width, slice.height);
    const shown = image.data;
    const pixels = slice.pixels;
    for (let from = 0, to = 0; from < pixels.length; from++, to += 4) {
      shown[to] = shown[to + 1] = shown[to + 2] = (pixels[from] - low) * factor;
      shown[to + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  tint(slice) {
    const colours = this.viewer.colours;
    const inside = Math.round(255 * this.viewer.opacity);
    const rim = this.viewer.opacity > 0 ? Math.min(255, inside + 120) : 0;
    const { width, height, labels } = slice;
    const context = sized(this.mask, slice);
    const image = context.createImageData(width, height);
    const shown = image.data;
    for (let row = 0, place = 0; row < height; row++) {
      for (let column = 0; column < width; column++, place++) {
        const number = labels[place];
        if (!number) continue;
        const within = column > 0 && column < width - 1 && row > 0 && row < height - 1 &&
          labels[place - 1] === number && labels[place + 1] === number &&
          labels[place - width] === number && labels[place + width] === number;
        const [red, green, blue] = colours.get(number) ?? PLAIN;
        const to = place * 4;
        shown[to] = red;
        shown[to + 1] = green;
        shown[to + 2] = blue;
        shown[to + 3] = within ? inside : rim;
      }
    }
    context.putImageData(image, 0, 0);
  }

  cross(context, slice, ratio) {
    const { across, down, flip } = PLANES[this.plane];
    const at = this.viewer.at;
    const row = flip ? slice.height - 1 - at[down] : at[down];
    const x = Math.round(this.box.left + (at[across] + 0.5) * this.box.scaleX) + 0.5;
    const y = Math.round(this.box.top + (row + 0.5) * this.box.scaleY) + 0.5;
    const gap = 14 * ratio;
    context.strokeStyle = "rgb(110 200 220 / 0.55)";
    context.lineWidth = Math.max(1, Math.round(ratio));
    context.beginPath();
    for (const [x1, y1, x2, y2] of [[0, y, x - gap, y], [x + gap, y, this.canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, this.canvas.height]]) {
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
    }
    context.stroke();
  }

  listen() {
    const { viewer, plane, screen } = this;
    if (!this.planar) this.pick.addEventListener("click", () => viewer.enlarge(plane));
    this.slider.addEventListener("input", () => viewer.move(plane, Number(this.slider.value) - 1));
    screen.addEventListener("wheel", (event) => {
      if (event.ctrlKey || !viewer.slices) return;
      event.preventDefault();
      this.rolled = (this.rolled ?? 0) + (event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY);
      const whole = Math.trunc(this.rolled) || Math.sign(event.deltaY) * Number(event.deltaMode !== 0);
      if (whole) {
        this.rolled = 0;
        viewer.move(plane, viewer.index(plane) + Math.max(-5, Math.min(5, whole)));
      }
    }, { passive: false });
    screen.addEventListener("keydown", (event) => this.key(event));
    this.fingers = new Map();
    screen.addEventListener("pointerdown", (event) => this.down(event));
    screen.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) screen.addEventListener(end, (event) => this.up(event));
    screen.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  key(event) {
    const { viewer, plane } = this;
    if (!viewer.slices || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = viewer.index(plane);
    const { count } = viewer.slices.size(plane);
    const acts = {
      ArrowUp: () => viewer.move(plane, index + 1),
      ArrowRight: () => viewer.move(plane, index + 1),
      ArrowDown: () => viewer.move(plane, index - 1),
      ArrowLeft: () => viewer.move(plane, index - 1),
      PageUp: () => viewer.move(plane, index + 10),
      PageDown: () => viewer.move(plane, index - 10),
      Home: () => viewer.move(plane, 0),
      End: () => viewer.move(plane, count - 1),
      ",": () => viewer.nudgeWindow(0, -0.02),
      ".": () => viewer.nudgeWindow(0, 0.02),
      "-": () => viewer.nudgeWindow(-0.01, 0),
      "+": () => viewer.nudgeWindow(0.01, 0),
    };
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  }

  down(event) {
    if (!this.viewer.slices) return;
    this.screen.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY });
    if (this.fingers.size === 1) this.gesture = { moved: false, index: this.viewer.index(this.plane), touch: event.pointerType === "touch" };
    else this.gesture.many = this.gesture.moved = true;
  }

  drag(event) {
    const finger = this.fingers.get(event.pointerId);
    if (!finger || !this.gesture) return;
    const [stepX, stepY] = [event.clientX - finger.x, event.clientY - finger.y];
    const far = Math.hypot(event.clientX - finger.startX, event.clientY - finger.startY);
    finger.x = event.clientX;
    finger.y = event.clientY;
    if (far < STILL_PX && !this.gesture.moved) return;
    this.gesture.moved = true;
    if (this.gesture.touch && !this.gesture.many) {
      this.viewer.move(this.plane, this.gesture.index + Math.trunc((finger.x - finger.startX) / SWIPE_PX));
    } else {
      this.viewer.nudgeWindow(-stepY / 500 / this.fingers.size, stepX / 350 / this.fingers.size);
    }
  }

  up(event) {
    const finger = this.fingers.get(event.pointerId);
    this.fingers.delete(event.pointerId);
    if (!finger || !this.gesture || this.gesture.moved || this.planar || event.type === "pointercancel") return;
    const place = this.screen.getBoundingClientRect();
    const { left, top, scaleX, scaleY, ratio } = this.box;
    const x = (event.clientX - place.left - this.screen.clientLeft) * ratio;
    const y = (event.clientY - place.top - this.screen.clientTop) * ratio;
    this.viewer.point(this.plane, (x - left) / scaleX, (y - top) / scaleY);
  }
}

function sized(canvas, slice) {
  if (canvas.width !== slice.width || canvas.height !== slice.height) {
    canvas.width = slice.width;
    canvas.height = slice.height;
  }
  return canvas.getContext("2d", { willReadFrequently: true });
}
