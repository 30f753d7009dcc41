// The sound card's side: an audio context, the ring in the audio thread, volume, an analyser, a microphone.

const USUAL_RATE = 24000;
const RING_SECONDS = 12;
const ANALYSED = 4096;
const VOLUME_SECONDS = 0.05;

export class Sound {
  constructor(onReport) {
    this.onReport = onReport;
    this.volume = 0.8;
  }

  /** Make the context; must be called by a click, or browsers keep it silent. */
  wake() {
    if (!this.context) {
      this.context = newContext(USUAL_RATE);
      this.loaded = this.context.audioWorklet.addModule("/static/worklet.js");
    }
    this.context.resume();
  }

  /** Begin a stream of a sample rate at its first sample. */
  async begin(streamRate, blockSamples) {
    await this.loaded;
    const seconds = Math.max(RING_SECONDS, (4 * blockSamples) / streamRate);
    if (this.player && this.streamRate === streamRate) {
      this.player.port.postMessage({ restart: 0 });
      return;
    }
    this.player?.disconnect();
    this.streamRate = streamRate;
    this.player = new AudioWorkletNode(this.context, "music-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { streamRate, seconds },
    });
    this.player.port.onmessage = (event) => this.onReport(event.data);
    if (!this.analyser) {
      this.analyser = new AnalyserNode(this.context, {
        fftSize: ANALYSED, smoothingTimeConstant: 0.55, minDecibels: -95, maxDecibels: -25,
      });
      this.output = new GainNode(this.context, { gain: this.volume });
      this.analyser.connect(this.output).connect(this.context.destination);
    }
    this.player.connect(this.analyser);
  }

  append(first, samples) {
    this.player?.port.postMessage({ first, samples }, [samples.buffer]);
  }

  tell(message) {
    this.player?.port.postMessage(message);
  }

  setVolume(volume) {
    this.volume = volume;
    this.output?.gain.setTargetAtTime(volume * volume, this.context.currentTime, VOLUME_SECONDS);
  }

  /** Seconds from the ring to the ear. */
  get latency() {
    return (this.context?.baseLatency ?? 0) + (this.context?.outputLatency ?? 0);
  }
}

/** A microphone whose samples are handed on in pieces of 40 ms. */
export class Microphone {
  async open(onSamples) {
    const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
    this.context = new AudioContext(); // at the microphone's own rate: browsers differ in what they resample
    await this.context.audioWorklet.addModule("/static/worklet.js");
    const source = new MediaStreamAudioSourceNode(this.context, { mediaStream: this.stream });
    this.capture = new AudioWorkletNode(this.context, "music-capture", { numberOfOutputs: 0 });
    this.capture.port.onmessage = (event) => onSamples(event.data, this.context.sampleRate);
    source.connect(this.capture);
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.stream = this.context = null;
  }
}

function newContext(sampleRate) {
  try {
    return new AudioContext({ sampleRate, latencyHint: "balanced" });
  } catch {
    return new AudioContext({ latencyHint: "balanced" }); // the audio thread resamples
  }
}
