// The page: what is pressed goes to the server, what the server and the audio thread say is shown.

import { Connection } from "./connection.js";
import { Harmony, walk } from "./harmony.js";
import { MidiKeyboards, Piano } from "./keyboard.js";
import { hexadecimal } from "./sha256.js";
import { Microphone, Sound } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";

const PROOF_MILLISECONDS = 4000;
const TOAST_MILLISECONDS = 6000;
const SETTLE_MILLISECONDS = 120; // a slider says where it rests, not every place it passes
const STATES = {
  idle: "Ready", connecting: "Connecting", waiting: "Preparing", playing: "Playing", paused: "Paused",
  reconnecting: "Reconnecting", refused: "Refused", lost: "Disconnected",
};
const REFUSALS = {
  "too many sessions": "The room is full", token: "This address needs its token", idle: "Still there?",
  "unknown session": "The stream has ended", elsewhere: "Playing in another window", failed: "The model stopped",
  "shutting down": "The server was stopped",
};

const find = (id) => document.getElementById(id);
const page = {
  playing: false, rate: 24000, lastReport: null, changes: new Map(), nextChange: 1, steps: [1, 2, 4, 8],
  session: null, proven: 0, broken: false,
};

const sound = new Sound(reported);
const connection = new Connection({ state: connectionChanged, welcome: welcomed, samples: received, message: heard });
const spectrogram = new Spectrogram(find("spectrogram"), (notes) => harmony.glow(notes));
const harmony = new Harmony(
  { group: find("fifths"), polygon: find("chord"), name: find("chord-name"), free: find("harmony-free") },
  (value) => set({ chroma: value }),
);
const piano = new Piano(find("piano"), find("octave"), (data) => change({ type: "midi", data }));
const keyboards = new MidiKeyboards(piano, showKeyboards);
const microphone = new Microphone();

// --- Playing -------------------------------------------------------------------------------------------------

function togglePlay() {
  if (page.playing) pause();
  else play();
}

function play() {
  hideNotice();
  sound.wake();
  page.playing = true;
  if (connection.state === "open" || connection.state === "reconnecting") sound.tell({ playing: true });
  else openStream();
  showState();
}

function pause() {
  page.playing = false;
  sound.tell({ playing: false });
  showState();
}

function startOver() {
  hideNotice();
  sound.wake();
  sound.tell({ playing: false });
  page.playing = true;
  openStream();
}

function openStream() {
  const request = { seed: Math.max(0, Math.floor(Number(find("seed").value) || 0)), nfe: page.steps[find("nfe").value] };
  if (find("context").value) request.context = find("context").value;
  page.changes.clear();
  page.lastReport = page.pace = null;
  page.proven = 0;
  page.broken = false;
  connection.open(request);
}

async function welcomed(message, resumed) {
  if (resumed) {
    showState();
    return;
  }
  page.rate = message.sample_rate;
  page.session = message.session;
  page.blockSeconds = message.block_samples / message.sample_rate;
  offer(message.offer);
  offerSteps(message.nfe, message.most_nfe);
  page.pending = [];
  await sound.begin(message.sample_rate, message.block_samples);
  // While the audio thread was made, the server may have said more than in its welcome.
  sound.tell({ prebuffer: page.pace?.prebuffer ?? message.prebuffer, playing: page.playing });
  for (const [first, samples] of page.pending) sound.append(first, samples);
  page.pending = null;
  spectrogram.listen(sound.analyser);
  sendAllControls();
  showState();
}

function received(first, samples) {
  if (page.pending) page.pending.push([first, samples]);
  else sound.append(first, samples);
}

/** What the server says besides music. */
function heard(message) {
  if (message.type === "pace") showPace(message);
  else if (message.type === "error") toast(message.message);
  else if (message.type === "applied") {
    for (const id of message.ids) {
      const made = page.changes.get(id);
      if (made) made.sample = message.sample;
    }
  }
}

/** What the audio thread says, ten times a second. */
function reported(report) {
  const before = page.lastReport;
  page.lastReport = report;
  connection.send({ type: "report", played: report.played, fill: report.fill, underruns: report.underruns });
  connection.expecting = page.playing && report.fill < 3 * page.rate;
  if (report.gaps > 0) page.broken = true;
  reactions(report);
  showReport(report);
  if (before?.waiting !== report.waiting) showState();
}

/** A change is heard when the first sample that knows it has been played. */
function reactions(report) {
  const now = performance.now();
  let latest = null;
  for (const [id, made] of page.changes) {
    if (made.sample === undefined || report.played < made.sample) continue;
    const since = (report.played - made.sample) / page.rate;
    latest = (now - made.at) / 1000 - since + sound.latency;
    page.changes.delete(id);
  }
  if (latest !== null) {
    find("reaction").textContent = `${Math.max(latest, 0).toFixed(1)} s`;
    spectrogram.mark();
  }
}

/** Ask the server for the fingerprint of exactly what was played. */
async function prove() {
  const report = page.lastReport;
  if (!report || !page.session || !page.playing || page.broken || connection.state !== "open") return;
  if (report.played === 0) return;
  try {
    const answer = await fetch(`/api/sessions/${page.session}?at=${report.played}`, { headers: authorization() });
    if (!answer.ok) return;
    const { sha256 } = await answer.json();
    if (sha256 === hexadecimal(report.digest)) page.proven = report.played;
    else page.broken = true;
  } catch {
    // The connection says what is wrong.
  }
}

// --- Changes -------------------------------------------------------------------------------------------------

/** Send a change, and remember when, to tell how long it takes to be heard. */
function change(message) {
  if (connection.state !== "open") return;
  const id = page.nextChange;
  page.nextChange += 1;
  page.changes.set(id, { at: performance.now() });
  connection.send({ ...message, id });
}

function set(controls) {
  change({ type: "set", controls });
}

/** What a new stream is told: everything that is not free. */
function sendAllControls() {
  const controls = {};
  if (harmony.value && !find("harmony").hidden) controls.chroma = harmony.value;
  for (const slider of Object.values(sliders)) {
    if (!slider.field.hidden && slider.value !== null) controls[slider.name] = slider.value;
  }
  const style = find("styles").querySelector("[aria-checked=true]")?.dataset.style;
  if (style) controls.style = style;
  if (Object.keys(controls).length > 0) set(controls);
  for (const pitch of piano.held.keys()) change({ type: "midi", data: [0x90, pitch, 96] });
}

/** A slider that can be left to the model. */
class FreeSlider {
  constructor(name, unit) {
    this.name = name;
    this.unit = unit;
    this.field = find(`${name}-field`);
    this.input = find(name);
    this.free = find(`${name}-free`);
    this.input.addEventListener("input", () => this.choose(Number(this.input.value)));
    this.free.addEventListener("click", () => this.choose(this.value === null ? Number(this.input.value) : null));
    this.value = null;
    this.show();
  }

  choose(value) {
    this.value = value;
    this.show();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => set({ [this.name]: this.value }), SETTLE_MILLISECONDS);
  }

  show() {
    this.free.setAttribute("aria-pressed", String(this.value === null));
    this.input.classList.toggle("resting", this.value === null);
    find(`${this.name}-value`).textContent = this.value === null ? "" : `${this.value} ${this.unit}`.replace("-", "−");
    fillTrack(this.input);
  }
}

const sliders = { loudness: new FreeSlider("loudness", "dB"), tempo: new FreeSlider("tempo", "bpm") };

/** Show what this model can be asked for. */
function offer(described) {
  const { title, controls, styles, contexts, hears_midi: midi, hears_audio: audio } = described;
  document.title = title;
  find("title").textContent = title;
  find("harmony").hidden = !controls.includes("chroma");
  for (const slider of Object.values(sliders)) slider.field.hidden = !controls.includes(slider.name);
  find("keys").hidden = !midi;
  find("midi-field").hidden = !midi || !MidiKeyboards.known;
  find("microphone-field").hidden = !audio || !navigator.mediaDevices;
  find("along-head").hidden = find("midi-field").hidden && find("microphone-field").hidden;
  find("along-hint").hidden = find("midi-field").hidden;
  offerStyles(controls.includes("style") ? styles : []);
  offerContexts(contexts);
}

/** Before the first stream, the server says what it has. */
async function askForOffer() {
  try {
    const answer = await fetch("/api/status", { headers: authorization() });
    if (answer.ok) offer((await answer.json()).offer);
  } catch {
    // Whoever presses play is told what is wrong.
  }
}

function authorization() {
  return connection.token ? { Authorization: `Bearer ${connection.token}` } : {};
}

function offerStyles(styles) {
  find("style-field").hidden = styles.length === 0;
  const group = find("styles");
  if (group.dataset.styles === styles.join("\n")) return;
  group.dataset.styles = styles.join("\n");
  const chips = ["", ...styles].map((style) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.style = style;
    chip.textContent = style || "free";
    chip.setAttribute("role", "radio");
    chip.setAttribute("aria-checked", String(style === ""));
    chip.tabIndex = style === "" ? 0 : -1;
    chip.addEventListener("click", () => chooseStyle(chips, chip));
    return chip;
  });
  group.replaceChildren(...chips);
  group.onkeydown = (event) => {
    const next = walk(event, chips);
    if (next) chooseStyle(chips, next);
  };
}

function chooseStyle(chips, chosen) {
  for (const chip of chips) {
    chip.setAttribute("aria-checked", String(chip === chosen));
    chip.tabIndex = chip === chosen ? 0 : -1;
  }
  set({ style: chosen.dataset.style || null });
}

function offerContexts(contexts) {
  find("context-field").hidden = contexts.length === 0;
  const chosen = find("context").value;
  const options = contexts.map((name) => new Option(name, name));
  find("context").replaceChildren(new Option("silence", ""), ...options);
  find("context").value = contexts.includes(chosen) ? chosen : "";
}

function offerSteps(nfe, most) {
  const steps = [1, 2, 4, 6, 8, 12, 16, 24, 32].filter((step) => step <= most);
  if (!steps.includes(nfe)) steps.push(nfe);
  page.steps = steps.sort((a, b) => a - b);
  find("nfe").max = page.steps.length - 1;
  find("nfe").value = page.steps.indexOf(nfe);
  showSteps();
}

// --- Showing -------------------------------------------------------------------------------------------------

function shownState() {
  if (connection.state === "open") {
    if (!page.playing) return "paused";
    return page.lastReport && !page.lastReport.waiting ? "playing" : "waiting";
  }
  return connection.state;
}

function showState() {
  const state = shownState();
  document.body.dataset.state = state;
  find("state-text").textContent = STATES[state];
  find("play").setAttribute("aria-label", page.playing ? "Pause" : "Play");
  document.body.classList.toggle("sounding", page.playing);
  spectrogram.moving = page.playing && page.lastReport !== null && !page.lastReport.waiting;
  find("subtitle").textContent = subtitle(state);
}

function subtitle(state) {
  const begun = page.lastReport !== null && page.lastReport.played > 0;
  if (state === "waiting" && begun) return "Waiting for the next block …";
  if (state === "waiting" || state === "connecting") return "The first block is being made …";
  if (state === "playing") return "Made as you listen. Change something: it answers with the next block.";
  if (state === "paused") return "Paused. The stream waits where you left it.";
  if (state === "reconnecting") return "The connection broke. The stream goes on as soon as it is back.";
  return "Press play. The music is made as you listen, and it listens to you.";
}

function connectionChanged(state, detail) {
  if (state === "refused" || state === "lost") {
    page.playing = false;
    sound.tell({ playing: false });
    showNotice(REFUSALS[detail.code] ?? (state === "lost" ? "No connection" : "The server says no"), detail.message);
  }
  showState();
}

function showNotice(title, text) {
  find("notice-title").textContent = title;
  find("notice-text").textContent = text;
  find("notice").hidden = false;
  find("notice-button").focus({ preventScroll: true });
}

function hideNotice() {
  find("notice").hidden = true;
}

function showReport(report) {
  const seconds = report.fill / page.rate;
  find("fill").textContent = `${seconds.toFixed(1)} s`;
  find("fill-bar").style.transform = `scaleX(${Math.min(seconds / (3 * (page.blockSeconds ?? 1)), 1).toFixed(3)})`;
  find("underruns").textContent = report.underruns;
  const played = Math.floor(report.played / page.rate);
  find("clock").textContent = `${Math.floor(played / 60)}:${String(played % 60).padStart(2, "0")}`;
  const proven = Math.floor(page.proven / page.rate);
  const proof = `✓ ${Math.floor(proven / 60)}:${String(proven % 60).padStart(2, "0")}`;
  find("proof").textContent = page.broken ? "gap" : page.proven > 0 ? proof : "–";
  find("proof").classList.toggle("bad", page.broken);
  find("underruns").classList.toggle("bad", report.underruns > 0);
}

function showPace(pace) {
  sound.tell({ prebuffer: pace.prebuffer });
  page.pace = pace;
  const share = pace.step_p95 === null ? null : pace.step_p95 / pace.block_seconds;
  find("effort").textContent = share === null ? "–" : `${Math.max(Math.round(100 * share), 1)} %`;
  showSteps();
}

function showSteps() {
  const wished = page.steps[find("nfe").value];
  const now = page.pace?.nfe ?? wished;
  find("nfe-value").textContent = now < wished ? `${wished}, now ${now}` : `${wished}`;
  find("nfe").setAttribute("aria-valuetext", `${wished} evaluations`);
  fillTrack(find("nfe"));
}

/** Colour a slider up to its knob. */
function fillTrack(input) {
  const part = (input.value - input.min) / (input.max - input.min || 1);
  input.style.setProperty("--part", part.toFixed(3));
}

function toast(text) {
  const element = find("toast");
  element.textContent = text;
  element.hidden = false;
  clearTimeout(page.toastTimer);
  page.toastTimer = setTimeout(() => (element.hidden = true), TOAST_MILLISECONDS);
}

// --- Playing along -------------------------------------------------------------------------------------------

function showKeyboards(names) {
  find("midi-state").textContent = names.length === 0 ? "none plugged in" : names.join(", ");
}

async function toggleMidi() {
  const button = find("midi");
  if (button.getAttribute("aria-pressed") === "true") {
    keyboards.close();
    button.setAttribute("aria-pressed", "false");
    find("midi-state").textContent = "";
    return;
  }
  try {
    await keyboards.open((data) => change({ type: "midi", data }));
    button.setAttribute("aria-pressed", "true");
  } catch {
    toast("The browser does not let this page use MIDI keyboards.");
  }
}

async function toggleMicrophone() {
  const button = find("microphone");
  if (button.getAttribute("aria-pressed") === "true") {
    microphone.close();
    button.setAttribute("aria-pressed", "false");
    find("microphone-bar").style.transform = "scaleX(0)";
    return;
  }
  try {
    await microphone.open((samples, rate) => {
      let square = 0;
      for (const sample of samples) square += sample * sample;
      const level = Math.min(Math.sqrt(square / samples.length) * 4, 1);
      find("microphone-bar").style.transform = `scaleX(${level.toFixed(3)})`;
      if (page.playing) connection.sendAudio(samples, rate);
    });
    button.setAttribute("aria-pressed", "true");
    toast("The music hears you now. Headphones keep it from hearing itself.");
  } catch {
    toast("The browser does not let this page use the microphone.");
  }
}

// --- Wiring --------------------------------------------------------------------------------------------------

find("play").addEventListener("click", togglePlay);
find("notice-button").addEventListener("click", startOver);
find("over").addEventListener("click", startOver);
find("dice").addEventListener("click", () => (find("seed").value = Math.floor(Math.random() * 100000)));
find("midi").addEventListener("click", toggleMidi);
find("microphone").addEventListener("click", toggleMicrophone);
find("octave-down").addEventListener("click", () => piano.move(-1));
find("octave-up").addEventListener("click", () => piano.move(1));
find("nfe").addEventListener("input", () => {
  if (page.pace) page.pace.nfe = page.steps[find("nfe").value];
  showSteps();
  clearTimeout(page.stepsTimer);
  page.stepsTimer = setTimeout(() => change({ type: "set", nfe: page.steps[find("nfe").value] }), SETTLE_MILLISECONDS);
});
find("volume").addEventListener("input", () => {
  sound.setVolume(find("volume").value / 100);
  find("volume-value").textContent = `${find("volume").value} %`;
  fillTrack(find("volume"));
});
addEventListener("keydown", (event) => {
  if (event.code !== "Space" || event.repeat || event.target.closest?.("button, input, select")) return;
  event.preventDefault();
  togglePlay();
});
addEventListener("pagehide", () => connection.close());
setInterval(prove, PROOF_MILLISECONDS);
offerSteps(8, 16);
fillTrack(find("volume"));
find("midi-field").hidden = !MidiKeyboards.known;
showState();
askForOffer();
