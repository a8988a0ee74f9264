/* The window of time that is shown, in ms since a run's zero: the beginning of its traffic. Sides share it. */

class View {
  constructor(full, home) {
    this.full = full;
    this.home = home;
    [this.start, this.end] = home;
    this.listeners = [];
  }

  get width() { return this.end - this.start; }

  onChange(listener) { this.listeners.push(listener); }

  set(start, end) {
    const [low, high] = this.full;
    const width = Math.min(Math.max(end - start, 0.05), high - low);
    this.start = Math.min(Math.max(start, low), high - width);
    this.end = this.start + width;
    for (const listener of this.listeners) listener();
  }

  zoom(factor, at = (this.start + this.end) / 2) {
    this.set(at - (at - this.start) * factor, at + (this.end - at) * factor);
  }

  pan(by) { this.set(this.start + by, this.end + by); }

  around(start, end) {
    const room = Math.max((end - start) * 0.6, 5);
    this.set(start - room, end + room);
  }
}

/* Round moments for an axis of about `wanted` marks. */
function marks(start, end, wanted) {
  const rough = (end - start) / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let k = Math.ceil(start / step); k * step <= end; k += 1) found.push(k * step);
  return { step, found };
}
