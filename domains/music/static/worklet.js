// The audio thread: a ring of samples that is filled by messages and emptied by the sound card, and the
// microphone's way back. `process` allocates nothing; everything it needs is made in the constructors.

import { Sha256 } from "./sha256.js";

const FADE_SECONDS = 0.008;
const REPORT_SECONDS = 0.1;
const CAPTURE_SECONDS = 0.04;

class MusicPlayer extends AudioWorkletProcessor {
  constructor(options) {
    super();
    const { streamRate, seconds } = options.processorOptions;
    this.ring = new Float32Array(Math.ceil(streamRate * seconds));
    this.ratio = streamRate / sampleRate; // samples of the stream a sample of the sound card
    this.fraction = 0;
    this.gain = 0;
    this.fadeStep = 1 / Math.round(FADE_SECONDS * sampleRate);
    this.fadeSamples = Math.ceil(FADE_SECONDS * streamRate + 128 * this.ratio) + 4;
    this.playing = false;
    this.prebuffer = streamRate;
    this.digest = new Sha256();
    this.bits = new Int32Array(1);
    this.float = new Float32Array(this.bits.buffer);
    this.report = {
      type: "report", at: 0, played: 0, fill: 0, underruns: 0, gaps: 0, waiting: true, digest: new Int32Array(8),
    };
    this.reportEvery = Math.max(Math.round((REPORT_SECONDS * sampleRate) / 128), 1);
    this.quanta = 0;
    this.restart(0);
    this.port.onmessage = (event) => this.receive(event.data);
  }

  restart(first) {
    this.played = this.end = first; // indices in the stream
    this.from = this.to = 0; // places in the ring
    this.before = 0; // the sample before the next one
    this.waiting = true; // for enough samples to begin
    this.underruns = this.gaps = 0;
    this.digest.restart();
  }

  receive(message) {
    if (message.samples) this.append(message.first, message.samples);
    if (message.prebuffer !== undefined) this.prebuffer = Math.min(message.prebuffer, this.ring.length / 2);
    if (message.playing !== undefined) this.playing = message.playing;
    if (message.restart !== undefined) this.restart(message.restart);
  }

  append(first, samples) {
    if (first > this.end) {
      this.gaps += 1; // something is lost for good: go on with what there is
      this.played += first - this.end;
      this.end = first;
    }
    const known = this.end - first;
    const room = this.ring.length - this.fill();
    const count = Math.min(samples.length - known, room);
    if (samples.length - known > room) this.gaps += 1;
    for (let place = 0; place < count; place += 1) {
      this.ring[this.to] = samples[known + place];
      this.to = this.to + 1 === this.ring.length ? 0 : this.to + 1;
    }
    if (count > 0) this.end += samples.length - known;
  }

  fill() {
    const distance = this.to - this.from;
    return distance >= 0 ? distance : distance + this.ring.length;
  }

  process(inputs, outputs) {
    const output = outputs[0][0];
    if (this.waiting && this.playing && this.fill() >= Math.max(this.prebuffer, this.fadeSamples)) {
      this.waiting = false;
    }
    let place = 0;
    while (!this.waiting && place < output.length) {
      const fill = this.fill();
      if (fill < 4) {
        this.underruns += 1;
        this.waiting = true;
        this.gain = 0;
        break;
      }
      // Near the end of what there is the sound fades, and comes back when there is more.
      const target = this.playing && fill > this.fadeSamples ? 1 : 0;
      if (this.gain < target) this.gain = Math.min(this.gain + this.fadeStep, 1);
      else if (this.gain > target) this.gain = Math.max(this.gain - this.fadeStep, 0);
      if (this.gain === 0 && !this.playing) {
        this.waiting = true;
        break;
      }
      output[place] = this.next() * this.gain * this.gain * (3 - 2 * this.gain);
      place += 1;
    }
    while (place < output.length) {
      output[place] = 0;
      place += 1;
    }
    this.quanta += 1;
    if (this.quanta % this.reportEvery === 0) this.tell();
    return true;
  }

  /** The stream at the sound card's next sample: as it is, or by a cubic through four samples. */
  next() {
    if (this.ratio === 1) return this.take();
    const size = this.ring.length, from = this.from;
    const a = this.before, b = this.ring[from], c = this.ring[(from + 1) % size], d = this.ring[(from + 2) % size];
    const t = this.fraction;
    const value = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
    this.fraction += this.ratio;
    while (this.fraction >= 1 && this.fill() > 0) {
      this.before = this.take();
      this.fraction -= 1;
    }
    return value;
  }

  /** Take a sample out of the ring, and into the digest: its bytes are those of the wire. */
  take() {
    const sample = this.ring[this.from];
    this.from = this.from + 1 === this.ring.length ? 0 : this.from + 1;
    this.played += 1;
    this.float[0] = sample;
    const bits = this.bits[0];
    this.digest.push(((bits & 0xff) << 24) | ((bits & 0xff00) << 8) | ((bits >>> 8) & 0xff00) | (bits >>> 24));
    return sample;
  }

  tell() {
    const report = this.report;
    report.at = currentTime;
    report.played = this.played;
    report.fill = this.fill();
    report.underruns = this.underruns;
    report.gaps = this.gaps;
    report.waiting = this.waiting;
    this.digest.digestInto(report.digest);
    this.port.postMessage(report);
  }
}

class MusicCapture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Float32Array(Math.round(CAPTURE_SECONDS * sampleRate));
    this.filled = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (channels.length === 0) return true;
    for (let place = 0; place < channels[0].length; place += 1) {
      let sum = 0;
      for (let channel = 0; channel < channels.length; channel += 1) sum += channels[channel][place];
      this.chunk[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === this.chunk.length) {
        this.port.postMessage(this.chunk); // a copy goes out, this one is filled anew
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("music-player", MusicPlayer);
registerProcessor("music-capture", MusicCapture);
