// Images of a series that forms no volume, one by one.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class Flat {
  constructor(root) {
    this.image = root.querySelector("[data-picture]");
    this.slider = root.querySelector(".slice");
    this.position = root.querySelector("[data-position]");
    this.busy = root.querySelector("[data-busy]");
    this.screen = root.querySelector(".screen");
    this.slider.addEventListener("input", () => this.show({ index: Number(this.slider.value) - 1 }));
    this.screen.addEventListener("wheel", (event) => {
      if (event.ctrlKey || this.pictures.length < 2) return;
      event.preventDefault();
      this.show({ index: this.index + Math.sign(event.deltaY) });
    }, { passive: false });
    this.screen.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.show({ index: this.index + steps[event.key] });
    });
    this.image.addEventListener("load", () => { this.image.hidden = false; this.tell(""); this.ahead(); });
    this.image.addEventListener("error", () => { this.image.hidden = true; this.tell("This image cannot be shown", true); });
  }

  tell(text, wrong = false) {
    this.busy.hidden = !text;
    this.busy.textContent = text;
    this.busy.classList.toggle("wrong", wrong);
  }

  open(source, geometry) {
    this.source = source;
    this.pictures = geometry.pictures;
    this.slider.max = String(Math.max(1, this.pictures.length));
    this.slider.disabled = this.pictures.length < 2;
    this.window = geometry.windows[0];
    this.show({ index: 0 });
  }

  address(index) {
    const { center, width } = this.window;
    const query = center === undefined ? "" : `?${new URLSearchParams({ center, width })}`;
    return `${this.source}/${this.pictures[index]}${query}`;
  }

  show({ index = this.index, window = this.window }) {
    this.index = clamp(index, 0, Math.max(0, this.pictures.length - 1));
    this.window = window;
    this.slider.value = String(this.index + 1);
    this.slider.setAttribute("aria-valuetext", `Image ${this.index + 1} of ${this.pictures.length}`);
    this.position.textContent = this.pictures.length ? `${this.index + 1}/${this.pictures.length}` : "";
    if (!this.pictures.length) {
      this.image.hidden = true;
      this.tell("There is no image in it", true);
      return;
    }
    this.tell("loading");
    this.image.alt = `Image ${this.index + 1} of ${this.pictures.length}`;
    this.image.src = this.address(this.index);
  }

  ahead() {
    if (this.index + 1 < this.pictures.length) new Image().src = this.address(this.index + 1);
  }
}
