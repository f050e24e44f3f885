// latco for other people's pages: from pictures to actions.
//
//   import { init, Agent } from 'latco';
//   await init();
//   const agent = Agent.load(new Uint8Array(await (await fetch('reach.safetensors')).arrayBuffer()));
//   const action = agent.act(context.getImageData(0, 0, 64, 64));
import start, { Agent as Engine, Playground, planners, tasks } from './engine/latco_web.js';

export { Playground, planners, tasks };

const MODULE = new URL('./engine/latco_web_bg.wasm.gz', import.meta.url);

/** What a gzip file has in it; other bytes as they are, since some servers unpack on the way. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be had: the server says ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

let started = null;

/** Starts the engine, once: from its own file, or from the bytes of it. `{memory}` is its WebAssembly memory. */
export function init(bytes) {
  started ??= (async () => {
    const module = await unpacked(bytes ?? await fetched(MODULE));
    const { memory } = await start({ module_or_path: module });
    return { memory };
  })().catch(error => { started = null; throw error; });
  return started;
}

/** A world model, a planner, and the belief filtered through everything seen so far. */
export class Agent {
  #engine;

  /** From the bytes of a checkpoint. */
  static load(bytes) {
    const agent = new Agent();
    agent.#engine = Engine.load(bytes);
    return agent;
  }

  /** Plans otherwise from the next step on. */
  configure(setup) { this.#engine.configure(setup); }

  /** Forgets the episode; the seed determines the plans of the next. */
  reset(seed = 0) { this.#engine.reset(seed); }

  /** The action for what is seen, in the environment's units. */
  act({ data, width, height }) {
    const pixels = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.#engine.act(pixels, width, height);
  }

  /** The figures of the present plan, null before the first. */
  get plan() { return this.#engine.plan(); }

  /** Gives the agent's memory back. */
  free() { this.#engine.free(); }
}
