// Notes to ask for, around the circle of fifths: neighbours sound well together, triads are small triangles.

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const SPOKEN = ["C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B"];
const CHORDS = {
  "0,4,7": "", "0,3,7": " minor", "0,3,6": " diminished", "0,4,8": " augmented", "0,5,7": " sus4",
  "0,4,7,10": "⁷", "0,4,7,11": " maj⁷", "0,3,7,10": " m⁷", "0,3,6,9": " dim⁷", "0,3,6,10": " m⁷♭5",
  "0,2,4,5,7,9,11": " major scale", "0,2,4,7,9": " pentatonic",
};
const RADIUS = 41; // percent of the circle's box
const CHORD_RADIUS = 52;

export class Harmony {
  constructor({ group, polygon, name, free }, onChange) {
    this.chosen = new Set();
    this.polygon = polygon;
    this.name = name;
    this.free = free;
    this.onChange = onChange;
    this.buttons = NAMES.map((_, note) => this.button(note));
    const around = NAMES.map((_, place) => this.buttons[(7 * place) % 12]);
    group.append(...around);
    group.addEventListener("keydown", (event) => walk(event, around));
    free.addEventListener("click", () => this.choose([]));
    this.show();
  }

  button(note) {
    const place = (7 * note) % 12; // fifths are seven semitones, and seven is its own inverse modulo 12
    const angle = (place / 12) * 2 * Math.PI;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "note";
    button.textContent = NAMES[note];
    button.setAttribute("aria-label", SPOKEN[note]);
    button.tabIndex = note === 0 ? 0 : -1;
    button.style.left = `${50 + RADIUS * Math.sin(angle)}%`;
    button.style.top = `${50 - RADIUS * Math.cos(angle)}%`;
    button.addEventListener("click", () => this.toggle(note));
    return button;
  }

  toggle(note) {
    if (!this.chosen.delete(note)) this.chosen.add(note);
    this.changed();
  }

  choose(notes) {
    this.chosen = new Set(notes);
    this.changed();
  }

  changed() {
    this.show();
    this.onChange(this.value);
  }

  /** Twelve strengths, or null when nothing is asked for. */
  get value() {
    return this.chosen.size === 0 ? null : NAMES.map((_, note) => (this.chosen.has(note) ? 1 : 0));
  }

  show() {
    this.buttons.forEach((button, note) => button.setAttribute("aria-pressed", String(this.chosen.has(note))));
    this.free.setAttribute("aria-pressed", String(this.chosen.size === 0));
    this.name.textContent = chordName([...this.chosen].sort((a, b) => a - b));
    const corners = [...this.chosen].map((note) => (7 * note) % 12).sort((a, b) => a - b);
    const point = (place) => {
      const angle = (place / 12) * 2 * Math.PI;
      return `${(CHORD_RADIUS * Math.sin(angle)).toFixed(1)},${(-CHORD_RADIUS * Math.cos(angle)).toFixed(1)}`;
    };
    this.polygon.setAttribute("points", corners.map(point).join(" "));
  }

  /** Let the notes glow as strongly as they sound. */
  glow(notes) {
    const most = Math.max(0.6, ...notes);
    this.buttons.forEach((button, note) => {
      const before = Number(button.dataset.glow ?? 0);
      const after = 0.7 * before + 0.3 * (notes[note] / most);
      button.dataset.glow = after.toFixed(3);
      button.style.setProperty("--glow", after.toFixed(2));
    });
  }
}

/** The name of a chord, of one note, or how many notes there are. */
function chordName(notes) {
  if (notes.length === 0) return "free";
  if (notes.length === 1) return NAMES[notes[0]];
  for (const root of notes) {
    const steps = notes.map((note) => (note - root + 12) % 12).sort((a, b) => a - b);
    const name = CHORDS[steps.join(",")];
    if (name !== undefined) return NAMES[root] + name;
  }
  return notes.length <= 4 ? notes.map((note) => NAMES[note]).join(" ") : `${notes.length} notes`;
}

/** Arrow keys move through buttons of which one is in the order of tabs. */
export function walk(event, buttons) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.code];
  const place = buttons.indexOf(document.activeElement);
  if (step === undefined || place < 0) return null;
  const next = buttons[(place + step + buttons.length) % buttons.length];
  for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
  next.focus();
  event.preventDefault();
  return next;
}
