// Plans on a thread of its own, so that the page never stalls. What it is told and what it tells is plain
// objects with a `type`; pictures are transferred, not copied.
import { init, Playground, planners, tasks } from './latco.js';

/** Steps of a scene in a row that count as solved for good, and steps after which another one is tried. */
const SOLVED = 14;
const PATIENCE = 120;
/** A plan that is backed by less than this much reward has lost its goal. */
const LOST = 0.5;

const state = {
  playground: null, task: '', setup: {}, seed: 0, size: 480,
  running: false, steps: 0, slow: false, pace: 12, iterationsPerSecond: 24,
  /** A thing in somebody's hand: {name, x, y}. */
  held: null, moved: false, rethink: false,
  automatic: true, solvedFor: 0, stepsInScene: 0, sinceSearch: 0, got: 0,
  /** Raised by whatever makes what is going on obsolete. */
  epoch: 0,
  /** The scene that the page asked for last. */
  request: 0,
  /** Tasks that were asked for. */
  opening: 0,
  replans: [], imaginedAt: 0,
};

const post = (type, data = {}, transfer = []) => postMessage({ type, ...data }, transfer);

const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()?.();
/** Lets messages in; unlike timers this has no least delay. */
const breathe = () => new Promise(go => { waiting.push(go); channel.port2.postMessage(0); });
const sleep = ms => ms > 4 ? new Promise(go => setTimeout(go, ms)) : breathe();

let wake = () => {};
const idle = () => new Promise(go => { wake = go; });

/** The bytes at `url`; tells how far it has got. */
async function bytesOf(url, part) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be had: the server says ${response.status}`);
  const total = Number(response.headers.get('content-length')) || 0;
  const reader = response.body.getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    post('progress', { part, length, total });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** What `work` made, which is asked for it again only where it failed. */
function once(work) {
  let made = null;
  return () => made ??= work().catch(error => { made = null; throw error; });
}

const places = once(async () => {
  const response = await fetch('./models.json');
  if (!response.ok) throw new Error(`models.json cannot be had: the server says ${response.status}`);
  return response.json();
});

const started = once(start);

async function start() {
  const { memory } = await init(await bytesOf('./engine/latco_web_bg.wasm.gz', 'planner'));
  state.memory = memory;
  const models = await places();
  post('catalogue', { tasks: tasks().filter(task => models[task.name]), planners: planners() });
}

/** The checkpoint of a task, once there is an engine to read it; `null` where there is none. */
async function had({ task, bytes }) {
  const url = (await places())[task];
  if (!bytes && !url) {
    // The page learns from the catalogue what there is, and asks for that.
    await started();
    return null;
  }
  const [checkpoint] = await Promise.all([bytes ?? bytesOf(url, 'model'), started()]);
  return checkpoint;
}

async function open({ task, seed, setup, bytes }) {
  // Scenes of the task before may begin meanwhile; only another task that is opened takes this one's place, and
  // what becomes of this one's checkpoint is of no interest then.
  const request = ++state.opening;
  state.epoch += 1;
  const checkpoint = await had({ task, bytes }).catch(error => { if (request === state.opening) throw error; });
  if (request !== state.opening || !checkpoint) return;
  const begun = performance.now();
  const playground = new Playground(task, checkpoint, setup);
  state.playground?.free();
  Object.assign(state, { playground, task, setup });
  reset(seed);
  // The page answers with its settings.
  state.rethink = false;
  post('opened', { task, bytes: checkpoint.length, milliseconds: performance.now() - begun });
}

function reset(seed) {
  state.epoch += 1;
  state.seed = seed;
  state.playground.reset(seed);
  Object.assign(state, { automatic: true, solvedFor: 0, stepsInScene: 0, sinceSearch: 0, got: 0, held: null, moved: false });
  show({ step: 0, reward: 0, solved: false, fresh: true });
  state.rethink = true;
}

function show(report = {}) {
  const picture = state.playground.picture(state.size);
  post('scene', {
    ...report, picture, size: state.size, things: state.playground.things(), seed: state.seed,
    request: state.request, got: state.got, memory: state.memory.buffer.byteLength,
  }, [picture.buffer]);
}

function imagine(every) {
  const { steps, path, frames, size } = state.playground.imagine(every);
  return [{ steps, path, frames, size, executed: state.playground.executed() }, [path.buffer, frames.buffer]];
}

/** Puts what is held where the hand is. */
function hold() {
  if (!state.held) return;
  const { name, x, y } = state.held;
  state.playground.moveThing(name, x, y);
  state.moved = false;
}

/** Plans where a plan is due. Whether one was made. */
function think() {
  const epoch = state.epoch;
  post('thinking');
  const plan = state.playground.think(state.slow, (index, promised, violation, multiplier) => {
    if (epoch === state.epoch) post('iteration', { index, promised, violation, multiplier });
  });
  if (!plan) { post('thought'); return false; }
  state.sinceSearch += 1;
  const now = performance.now();
  state.replans = [...state.replans.filter(time => now - time < 2000), now];
  const rate = state.replans.length > 1 ? 1000 * (state.replans.length - 1) / (now - state.replans[0]) : 0;
  // Decoding a whole plan takes as long as a replan: a third of its steps will do, and at full speed now and then.
  const due = state.pace < 1e3 || now - state.imaginedAt > 250;
  const [imagined, transfer] = due ? imagine(state.running && !state.slow ? 3 : 1) : [null, []];
  if (due) state.imaginedAt = now;
  state.lost = plan.rollout < LOST;
  post('plan', { plan, rate, imagined }, transfer);
  return true;
}

/** Shows every iteration of the plan that was just made, slowly. */
async function playBack(epoch) {
  const count = state.playground.recorded();
  for (let index = 0; index < count; index += 1) {
    if (epoch !== state.epoch || state.moved || !state.slow) return;
    const began = performance.now();
    const { path, frames, rolledOut, ...figures } = state.playground.recordedIteration(index);
    post('recorded', { ...figures, path, frames, rolledOut, count },
      [path.buffer, frames.buffer, rolledOut.buffer]);
    await sleep(1000 / state.iterationsPerSecond - (performance.now() - began));
    while (!state.running && !state.steps && epoch === state.epoch && state.slow && !state.moved) await idle();
  }
  post('recorded-end');
}

async function loop() {
  for (;;) {
    const wanted = state.running || state.steps > 0;
    if (!state.playground || !(wanted || state.rethink || state.moved)) { await idle(); continue; }
    const epoch = state.epoch;
    const began = performance.now();
    try {
      state.rethink = false;
      hold();
      if (state.lost && state.sinceSearch > 6) { state.playground.searchAnew(); state.sinceSearch = 0; }
      const planned = think();
      await breathe();
      if (planned && state.slow) await playBack(epoch);
      if (epoch !== state.epoch || state.moved) continue;
      if (!(state.running || state.steps > 0)) { show(); continue; }
      const report = state.playground.execute();
      state.got += report.reward;
      state.steps = Math.max(0, state.steps - 1);
      state.stepsInScene += 1;
      state.solvedFor = report.solved ? state.solvedFor + 1 : 0;
      hold();
      show(report);
      const over = state.solvedFor >= SOLVED || state.stepsInScene >= PATIENCE;
      if (state.automatic && over && !state.held) reset(state.seed + 1);
    } catch (error) {
      state.running = false;
      state.steps = 0;
      post('failed', { message: String(error?.message ?? error) });
    }
    await sleep(1000 / state.pace - (performance.now() - began));
  }
}

const commands = {
  async open(message) {
    state.size = message.size;
    try {
      await open(message);
    } catch (error) {
      post('refused', { message: String(error?.message ?? error), task: state.playground ? state.task : '' });
    }
  },
  configure({ setup }) {
    state.playground.configure(setup);
    Object.assign(state, { setup, rethink: true, sinceSearch: 0, lost: false });
    state.epoch += 1;
  },
  reset({ seed, request }) { state.request = request; reset(seed); },
  run({ running }) { state.running = running; },
  step() { state.running = false; state.steps += 1; },
  slow({ slow }) { state.slow = slow; if (slow) { state.playground?.searchAnew(); state.rethink = true; state.epoch += 1; } },
  pace({ pace, iterationsPerSecond }) { Object.assign(state, { pace, iterationsPerSecond }); },
  size({ size }) { state.size = size; if (state.playground) show(); },
  move({ name, x, y }) {
    state.held = { name, x, y };
    state.playground.moveThing(name, x, y);
    Object.assign(state, { moved: true, automatic: false, solvedFor: 0 });
    show();
    post('moved');
  },
  drop() {
    state.held = null;
    state.playground.searchAnew();
    Object.assign(state, { rethink: true, moved: false, sinceSearch: 0, lost: false });
    state.epoch += 1;
  },
};

onmessage = async ({ data }) => {
  try {
    if (data.type !== 'open' && !state.playground && !['run', 'pace', 'slow', 'size'].includes(data.type)) return;
    await commands[data.type](data);
  } catch (error) {
    post('failed', { message: String(error?.message ?? error) });
  }
  wake();
};

loop();
