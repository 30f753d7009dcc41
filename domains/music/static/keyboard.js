// Keys: on the screen by mouse and touch, on the computer's keyboard, and MIDI keyboards.

const WHITE = [0, 2, 4, 5, 7, 9, 11];
const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const LETTERS = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ",
  "KeyK", "KeyO", "KeyL", "KeyP", "Semicolon"];
const NOTE_ON = 0x90, NOTE_OFF = 0x80, CONTROL = 0xb0;
const VELOCITY = 96;
const NARROWEST_KEY = 34;
const LOWEST_OCTAVE = 2, HIGHEST_OCTAVE = 7; // of the pitches that models know, C2 to B6

export const noteName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

export class Piano {
  constructor(element, range, onMessage) {
    this.element = element;
    this.range = range;
    this.onMessage = onMessage;
    this.first = 48;
    this.held = new Map(); // pitch to how many things hold it
    this.pointers = new Map(); // pointer to pitch
    this.letters = new Map(); // key to pitch
    new ResizeObserver(() => this.build()).observe(element);
    this.build();
    this.hearPointers();
    this.hearLetters();
  }

  move(octaves) {
    this.first = this.bounded(this.first + 12 * octaves);
    this.build(true);
  }

  bounded(first) {
    const highest = 12 * (HIGHEST_OCTAVE + 1 - (this.octaves ?? 1));
    return Math.min(Math.max(first, 12 * (LOWEST_OCTAVE + 1)), highest);
  }

  build(anew = false) {
    const octaves = Math.min(Math.max(Math.floor(this.element.clientWidth / (7 * NARROWEST_KEY)), 1), 3);
    if (octaves === this.octaves && !anew) return;
    this.octaves = octaves;
    this.first = this.bounded(this.first);
    const last = this.first + 12 * octaves;
    const whites = 7 * octaves + 1;
    this.keys = new Map();
    let white = 0;
    for (let pitch = this.first; pitch <= last; pitch += 1) {
      const key = document.createElement("button");
      const black = !WHITE.includes(pitch % 12);
      key.type = "button";
      key.className = black ? "key black" : "key white";
      key.dataset.pitch = pitch;
      key.tabIndex = pitch === this.first ? 0 : -1;
      key.setAttribute("aria-label", noteName(pitch));
      key.setAttribute("aria-pressed", String(this.held.has(pitch)));
      key.style.left = `${(100 * (black ? white - 0.3 : white)) / whites}%`;
      key.style.width = `${(100 * (black ? 0.6 : 1)) / whites}%`;
      if (!black) white += 1;
      if (pitch % 12 === 0) key.append(Object.assign(document.createElement("span"), { textContent: noteName(pitch) }));
      this.keys.set(pitch, key);
    }
    this.element.replaceChildren(...this.keys.values());
    this.range.textContent = `${noteName(this.first)} – ${noteName(last)}`;
  }

  /** Hold a key for one more reason: a finger, a letter, a MIDI keyboard. */
  press(pitch, velocity = VELOCITY) {
    const reasons = this.held.get(pitch) ?? 0;
    this.held.set(pitch, reasons + 1);
    if (reasons === 0) this.onMessage([NOTE_ON, pitch, velocity]);
    this.keys.get(pitch)?.setAttribute("aria-pressed", "true");
  }

  release(pitch) {
    const reasons = this.held.get(pitch) ?? 0;
    if (reasons === 0) return;
    if (reasons > 1) {
      this.held.set(pitch, reasons - 1);
      return;
    }
    this.held.delete(pitch);
    this.onMessage([NOTE_OFF, pitch, 0]);
    this.keys.get(pitch)?.setAttribute("aria-pressed", "false");
  }

  releaseAll() {
    for (const pitch of [...this.held.keys()]) {
      this.held.set(pitch, 1);
      this.release(pitch);
    }
    this.pointers.clear();
    this.letters.clear();
  }

  hearPointers() {
    const pitchAt = (event) => {
      const key = document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".key");
      return key && this.element.contains(key) ? Number(key.dataset.pitch) : null;
    };
    const glide = (event, pitch) => {
      const before = this.pointers.get(event.pointerId) ?? null;
      if (pitch === before) return;
      if (before !== null) this.release(before);
      if (pitch !== null) this.press(pitch);
      this.pointers.set(event.pointerId, pitch);
    };
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.target.releasePointerCapture?.(event.pointerId); // touch would stay with the first key
      glide(event, pitchAt(event));
    });
    this.element.addEventListener("pointermove", (event) => {
      if (this.pointers.has(event.pointerId)) glide(event, pitchAt(event));
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      addEventListener(kind, (event) => {
        if (!this.pointers.has(event.pointerId)) return;
        glide(event, null);
        this.pointers.delete(event.pointerId);
      });
    }
    this.element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  hearLetters() {
    const typing = (event) => event.target.closest?.("input, select, textarea");
    addEventListener("keydown", (event) => {
      if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
      const place = LETTERS.indexOf(event.code);
      if (place >= 0) this.hold(event.code, this.first + place);
      else this.walk(event);
    });
    addEventListener("keyup", (event) => this.letGo(event.code));
    addEventListener("blur", () => this.releaseAll());
  }

  hold(code, pitch) {
    if (this.letters.has(code)) return;
    this.letters.set(code, pitch);
    this.press(pitch);
  }

  letGo(code) {
    if (!this.letters.has(code)) return;
    this.release(this.letters.get(code));
    this.letters.delete(code);
  }

  /** Arrows move between keys, Enter and space play them. */
  walk(event) {
    const key = document.activeElement?.closest?.(".key");
    if (!key) return;
    const pitch = Number(key.dataset.pitch);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.code];
    if (step !== undefined) this.keys.get(pitch + step)?.focus();
    else if (event.code === "Enter" || event.code === "Space") this.hold(event.code, pitch);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}

/** MIDI keyboards that are plugged in, now or later. */
export class MidiKeyboards {
  constructor(piano, onState) {
    this.piano = piano;
    this.onState = onState;
  }

  static get known() {
    return "requestMIDIAccess" in navigator;
  }

  async open(onControl) {
    this.onControl = onControl;
    this.access = await navigator.requestMIDIAccess();
    this.access.onstatechange = () => this.connect();
    this.connect();
  }

  connect() {
    const names = [];
    for (const input of this.access.inputs.values()) {
      input.onmidimessage = (event) => this.hear(event.data);
      names.push(input.name);
    }
    this.onState(names);
  }

  close() {
    for (const input of this.access?.inputs.values() ?? []) input.onmidimessage = null;
    this.access = null;
    this.piano.releaseAll();
  }

  hear(data) {
    const [status, pitch, velocity] = data;
    const kind = status & 0xf0;
    if (kind === NOTE_ON && velocity > 0) this.piano.press(pitch, velocity);
    else if (kind === NOTE_ON || kind === NOTE_OFF) this.piano.release(pitch);
    else if (kind === CONTROL) this.onControl(Array.from(data));
  }
}
