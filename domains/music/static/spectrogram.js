// What is heard, drawn: a spectrogram that moves to the left, and how strongly each of the 12 notes sounds.

const LOWEST = 55;
const HIGHEST = 7000;
const FRAME_MILLISECONDS = 33;
const CALM_MILLISECONDS = 400;
const SETTLE_MILLISECONDS = 200;
const PIXELS_A_SECOND = 46;
const GROUND = "rgb(19 18 17)";
const SKETCH = [[45, 57, 60, 64], [41, 57, 60, 65], [48, 55, 64, 67], [43, 55, 59, 62]];
const LOWEST_NOTE = 110;
const HIGHEST_NOTE = 2100;
// From the page's ground over wine and brass to ivory.
const COLOURS = [[0, 19, 18, 17], [0.22, 36, 23, 25], [0.45, 104, 45, 40], [0.7, 217, 150, 80], [1, 255, 241, 214]];

export class Spectrogram {
  constructor(canvas, onNotes) {
    this.canvas = canvas;
    this.onNotes = onNotes;
    this.brush = canvas.getContext("2d", { alpha: false });
    this.palette = palette();
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.marks = 0;
    this.drawnAt = 0;
    this.owed = 0;
    new ResizeObserver(() => {
      clearTimeout(this.settling); // what is drawn need not follow a window that is being dragged
      this.settling = setTimeout(() => this.fit(), SETTLE_MILLISECONDS);
    }).observe(canvas);
    this.fit();
    const draw = (now) => {
      requestAnimationFrame(draw);
      this.draw(now);
    };
    requestAnimationFrame(draw);
  }

  listen(analyser) {
    this.analyser = analyser;
    this.levels = new Uint8Array(analyser.frequencyBinCount);
    this.fit();
  }

  /** Draw a hair line where a change is heard for the first time. */
  mark() {
    this.marks += 1;
  }

  fit() {
    if (this.canvas.clientWidth === 0) return;
    const ratio = Math.min(devicePixelRatio, 1.5);
    const width = Math.max(Math.round(this.canvas.clientWidth * ratio), 1);
    const height = Math.max(Math.round(this.canvas.clientHeight * ratio), 1);
    if (width !== this.canvas.width || height !== this.canvas.height) this.resize(width, height);
    this.ratio = ratio;
    this.place();
  }

  /** Take another size, and keep the latest of what is drawn. */
  resize(width, height) {
    const before = document.createElement("canvas");
    before.width = this.canvas.width;
    before.height = this.canvas.height;
    before.getContext("2d").drawImage(this.canvas, 0, 0);
    this.canvas.width = width;
    this.canvas.height = height;
    this.brush.fillStyle = GROUND;
    this.brush.fillRect(0, 0, width, height);
    if (this.analyser) this.brush.drawImage(before, width - before.width, 0, before.width, height);
    else this.sketch(width, height);
  }

  /** Before anything sounds: the overtones of four chords, faintly, as music will look. */
  sketch(width, height) {
    SKETCH.forEach((pitches, chord) => {
      for (const pitch of pitches) {
        for (let overtone = 1; overtone <= 10; overtone += 1) {
          const frequency = overtone * 440 * 2 ** ((pitch - 69) / 12);
          const row = height * (1 - Math.log(frequency / LOWEST) / Math.log(HIGHEST / LOWEST));
          this.brush.fillStyle = `rgb(219 150 80 / ${(0.2 / overtone ** 0.7).toFixed(3)})`;
          this.brush.fillRect((width * chord) / SKETCH.length, row, width / SKETCH.length - 3, 2);
        }
      }
    });
  }

  /** For each row of pixels, the bins of the analyser that it shows; low notes at the bottom, by octaves. */
  place() {
    if (!this.analyser) return;
    const height = this.canvas.height, bins = this.levels.length;
    const width = this.analyser.context.sampleRate / this.analyser.fftSize;
    this.rows = new Float32Array(height);
    for (let row = 0; row < height; row += 1) {
      const frequency = LOWEST * (HIGHEST / LOWEST) ** (1 - (row + 0.5) / height);
      this.rows[row] = Math.min(frequency / width, bins - 2);
    }
    this.column = this.brush.createImageData(1, height);
    this.notes = new Float32Array(12);
  }

  draw(now) {
    const pause = this.calm.matches ? CALM_MILLISECONDS : FRAME_MILLISECONDS;
    if (!this.analyser || !this.moving || now - this.drawnAt < pause) return;
    const elapsed = Math.min(now - this.drawnAt, 1000) / 1000;
    this.drawnAt = now;
    this.owed += elapsed * PIXELS_A_SECOND * this.ratio;
    const columns = Math.floor(this.owed);
    this.owed -= columns;
    if (columns === 0) return;
    this.analyser.getByteFrequencyData(this.levels);
    const { width, height } = this.canvas;
    this.brush.drawImage(this.canvas, -columns, 0);
    this.paint();
    for (let column = 0; column < columns; column += 1) this.brush.putImageData(this.column, width - 1 - column, 0);
    if (this.marks > 0) {
      this.marks = 0;
      this.brush.fillStyle = "rgb(236 229 216 / 0.55)";
      this.brush.fillRect(width - columns, 0, Math.max(this.ratio, 1), height);
    }
    this.listenToNotes();
  }

  paint() {
    const pixels = this.column.data, rows = this.rows, levels = this.levels, palette = this.palette;
    for (let row = 0; row < rows.length; row += 1) {
      const bin = Math.floor(rows[row]), part = rows[row] - bin;
      const level = Math.round(levels[bin] * (1 - part) + levels[bin + 1] * part);
      pixels[4 * row] = palette[3 * level];
      pixels[4 * row + 1] = palette[3 * level + 1];
      pixels[4 * row + 2] = palette[3 * level + 2];
      pixels[4 * row + 3] = 255;
    }
  }

  listenToNotes() {
    const width = this.analyser.context.sampleRate / this.analyser.fftSize, levels = this.levels;
    this.notes.fill(0);
    const last = Math.min(Math.ceil(HIGHEST_NOTE / width), levels.length - 2);
    for (let bin = Math.ceil(LOWEST_NOTE / width); bin <= last; bin += 1) {
      if (levels[bin] < levels[bin - 1] || levels[bin] < levels[bin + 1] || levels[bin] < 110) continue;
      const note = Math.round(12 * Math.log2((bin * width) / 440) + 9 + 120) % 12;
      this.notes[note] += (levels[bin] / 255) ** 4;
    }
    this.onNotes(this.notes);
  }
}

function palette() {
  const table = new Uint8ClampedArray(3 * 256);
  for (let level = 0; level < 256; level += 1) {
    const value = level / 255;
    const above = COLOURS.findIndex((stop) => stop[0] >= value);
    const [low, high] = [COLOURS[Math.max(above - 1, 0)], COLOURS[above]];
    const part = high[0] === low[0] ? 0 : (value - low[0]) / (high[0] - low[0]);
    for (let place = 0; place < 3; place += 1) {
      table[3 * level + place] = low[place + 1] + part * (high[place + 1] - low[place + 1]);
    }
  }
  return table;
}
