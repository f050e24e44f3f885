// The page: it draws what the worker tells, and tells it what is wanted.

const $ = id => document.getElementById(id);
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const tell = (type, data = {}, transfer = []) => worker.postMessage({ type, ...data }, transfer);

/** What each planner begins with here, where it is not the library's own setting. */
const PRESETS = [
  { id: 'latco', planner: 'latco', label: 'latco', every: 1, settings: { samples: 512 } },
  { id: 'relaxed', planner: 'latco', label: 'latco, relaxed start', every: 1, settings: { noise_scale: 0, samples: 0, plans: 1 },
    about: 'a relaxed plan leads straight to a latent of high reward and is pulled onto the dynamics; then it is polished' },
  { id: 'latco-paper', planner: 'latco-paper', every: 10 },
  { id: 'latco-first-order', planner: 'latco-first-order', every: 10 },
  { id: 'grasp', planner: 'grasp', every: 10 },
  { id: 'icem', planner: 'icem', every: 2 },
  { id: 'icem-gn', planner: 'icem-gn', every: 2 },
  { id: 'mppi', planner: 'mppi', every: 2 },
  { id: 'cem', planner: 'cem', every: 5 },
  { id: 'shooting-gd', planner: 'shooting-gd', every: 5 },
  { id: 'shooting-gn', planner: 'shooting-gn', every: 2 },
  { id: 'ilqr', planner: 'ilqr', every: 5 },
  { id: 'best-of-n', planner: 'best-of-n', every: 2 },
  { id: 'random', planner: 'random', every: 1 },
];

const preset = id => PRESETS.find(preset => preset.id === id);

/** Relaxed starts are best seen on `reach`; elsewhere learnt models err too much off the dynamics (docs/browser.md). */
const usual = task => preset(task === 'reach' ? 'relaxed' : 'latco');

const page = {
  catalogue: null, task: 'reach', preset: null, seed: 3,
  running: true, slow: false, opened: false,
  scene: null, things: [], chosen: 'goal', dragging: null, moving: false, aim: null, wanted: null,
  film: null, moment: 0, scrubbing: false, playback: null, trail: [],
  replans: [], got: 0, loaded: {},
  /** The scenes asked for so far, and what is told once a task is open. */
  request: 0, notice: '',
};

// ---- what is wanted -------------------------------------------------------------------------------------

const theme = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const short = number => {
  if (!Number.isFinite(number)) return '–';
  const size = Math.abs(number);
  if (size !== 0 && (size < 0.01 || size >= 1e4)) return number.toExponential(0).replace('e+', 'e');
  return size >= 100 ? number.toFixed(0) : size >= 10 ? number.toFixed(1) : number.toFixed(2).replace(/\.?0+$/, '') || '0';
};

function setup() {
  const { planner, settings = {} } = page.preset;
  const own = page.catalogue?.planners.find(entry => entry.name === planner) ?? {};
  const setup = { planner, settings, horizon: Number($('horizon').value), replanEvery: Number($('every').value) };
  if (own.multiplier !== null) setup.multiplier = 10 ** Number($('multiplier').value);
  if (own.epsilon !== null) setup.epsilon = 10 ** Number($('epsilon').value);
  return setup;
}

/** The sliders as the planner and the task would have them. */
function defaults() {
  const own = page.catalogue.planners.find(entry => entry.name === page.preset.planner);
  const task = page.catalogue.tasks.find(entry => entry.name === page.task);
  $('horizon').value = task.horizon;
  $('every').value = page.preset.every;
  for (const name of ['multiplier', 'epsilon']) {
    $(`${name}-label`).classList.toggle('off', own[name] === null);
    $(name).disabled = own[name] === null;
    if (own[name] !== null) $(name).value = Math.log10(own[name]);
  }
  $('planner-about').textContent = page.preset.about ?? own.about;
  $('about').textContent = `Task: ${task.about}. It sees nothing but the picture.`;
  outputs();
}

function outputs() {
  $('horizon-out').value = `${$('horizon').value} steps`;
  $('every-out').value = $('every').value === '1' ? 'step' : `${$('every').value} steps`;
  for (const name of ['multiplier', 'epsilon']) {
    $(`${name}-out`).value = $(name).disabled ? '–' : short(10 ** Number($(name).value));
  }
  const pace = paces();
  $('pace-out').value = page.slow ? `${pace.iterationsPerSecond} iterations/s` : pace.pace > 1e3 ? 'as fast as it goes' : `${pace.pace} steps/s`;
}

function paces() {
  const value = Number($('pace').value);
  return { pace: value > 30 ? 1e9 : value, iterationsPerSecond: Math.max(1, Math.round(1.6 * value)) };
}

function configure() {
  outputs();
  page.replans = [];
  forgetPlan();
  keepAddress();
  if (page.opened) tell('configure', { setup: setup() });
}

function forgetPlan() {
  page.film = page.playback = null;
  page.trail = [];
  curves.reset();
}

/** The address leads to what is shown. */
function keepAddress() {
  history.replaceState(null, '', `#task=${page.task}&planner=${page.preset.id}&seed=${page.seed}${page.slow ? '&slow' : ''}`);
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  page.task = wanted.get('task') ?? page.task;
  page.preset = preset(wanted.get('planner')) ?? usual(page.task);
  page.seed = Number.parseInt(wanted.get('seed') ?? page.seed, 10) || 0;
  page.slow = wanted.has('slow');
}

function open(bytes) {
  page.opened = false;
  page.loaded = {};
  forgetPlan();
  page.replans = [];
  $('loading').hidden = false;
  const message = { task: page.task, seed: page.seed, size: pictureSize(), bytes };
  if (page.catalogue) message.setup = setup();
  tell('open', message, bytes ? [bytes.buffer] : []);
  keepAddress();
}

const pictureSize = () => Math.max(128, Math.min(480, Math.round($('scene').clientWidth * Math.min(devicePixelRatio, 2))));

function run(running) {
  page.running = running;
  if (running) $('alert').hidden = true;
  $('run').setAttribute('aria-pressed', running);
  $('run-text').textContent = running ? 'Pause' : 'Run';
  $('run-icon').setAttribute('d', running ? 'M6 5h4v14H6zM14 5h4v14h-4z' : 'M7 4l13 8-13 8z');
  tell('run', { running });
}

function slow(on) {
  page.slow = on;
  $('slow').setAttribute('aria-pressed', on);
  page.playback = null;
  page.trail = [];
  curves.reset();
  outputs();
  tell('pace', paces());
  tell('slow', { slow: on });
  keepAddress();
  draw();
}

function fail(message) {
  $('alert').textContent = message;
  $('alert').hidden = false;
  $('loading').hidden = true;
  run(false);
}

// ---- what the worker tells ------------------------------------------------------------------------------

const told = {
  catalogue({ tasks, planners }) {
    page.catalogue = { tasks, planners };
    const there = tasks.some(task => task.name === page.task);
    if (!there) {
      page.notice = `There is no task ${page.task} here: this is ${tasks[0].name}.`;
      if (page.preset === usual(page.task)) page.preset = usual(tasks[0].name);
      page.task = tasks[0].name;
    }
    $('task').replaceChildren(...tasks.map(({ name }) => new Option(name, name, false, name === page.task)));
    const known = PRESETS.filter(preset => planners.some(entry => entry.name === preset.planner));
    $('planner').replaceChildren(...known.map(preset => new Option(preset.label ?? preset.planner, preset.id, false, preset === page.preset)));
    defaults();
    if (!there) open();
  },
  progress({ part, length, total }) {
    page.loaded[part] = { length, total };
    const parts = Object.values(page.loaded);
    const sum = key => parts.reduce((all, part) => all + part[key], 0);
    $('progress-text').textContent = `Loading planner and model… ${(sum('length') / 1e6).toFixed(1)} MB`;
    if (parts.every(part => part.total)) $('progress').value = sum('length') / sum('total'); else $('progress').removeAttribute('value');
  },
  opened({ milliseconds }) {
    page.opened = true;
    page.firstPlan = performance.now();
    $('loading').hidden = true;
    $('alert').hidden = !page.notice;
    $('alert').textContent = page.notice;
    page.notice = '';
    document.body.dataset.opened = page.task;
    tell('configure', { setup: setup() });
    tell('pace', paces());
    tell('slow', { slow: page.slow });
    tell('run', { running: page.running });
    page.modelMilliseconds = milliseconds;
  },
  scene(message) {
    // Of before another one was asked for.
    if (message.request < page.request) return;
    if (message.fresh) { forgetPlan(); page.replans = []; }
    const { picture, size, things, seed, got } = message;
    page.scene = new ImageData(picture, size, size);
    if (seed !== page.seed) { page.seed = seed; keepAddress(); }
    if (things.map(thing => thing.name).join() !== page.things.map(thing => thing.name).join()) nameThings(things);
    page.things = things;
    $('scene').dataset.things = JSON.stringify(things);
    page.got = got;
    page.memory = message.memory;
    $('got').textContent = short(got);
    if (message.step !== undefined) {
      $('steps').textContent = message.step;
      page.solved = message.solved;
      if (page.film && !message.fresh) page.film.executed += 1;
      badge();
    }
    document.body.dataset.solved = Boolean(page.solved);
    draw();
  },
  thinking() { page.thinking = performance.now(); setTimeout(badge, 130); },
  thought() { page.thinking = 0; },
  iteration(figures) {
    // At full speed a replan has a few iterations only; those of a search are worth seeing.
    if (!page.slow && figures.index > 3) { $('iterations').textContent = figures.index + 1; }
  },
  plan({ plan, rate, imagined }) {
    page.thinking = 0;
    page.plan = plan;
    page.rate = rate;
    page.replans.push(plan);
    if (page.replans.length > 160) page.replans.shift();
    if (page.firstPlan) { document.body.dataset.firstPlan = Math.round(performance.now() - page.firstPlan); page.firstPlan = 0; }
    document.body.dataset.replans = Number(document.body.dataset.replans ?? 0) + 1;
    if (imagined && !page.slow) page.film = film(imagined);
    else if (imagined) page.nextFilm = film(imagined);
    if (!page.slow) { figures(plan); curves.replans(page.replans); }
    $('machine').textContent = `${rate.toFixed(0)} replans a second on one core · ${(page.memory / 1e6).toFixed(0)} MB · model ready in ${page.modelMilliseconds.toFixed(0)} ms`;
    badge();
    draw();
  },
  recorded(frame) {
    if (!page.slow) return;
    const { index, count } = frame;
    if (index === 0) { curves.iterations(); page.trail = []; }
    page.playback = frame;
    page.film = film(frame);
    page.film.rolledOut = frame.rolledOut;
    page.film.relaxed = frame.relaxed;
    if (frame.relaxed && index % 4 === 0) page.trail = [...page.trail.slice(-5), frame.path];
    curves.iteration(frame);
    $('iterations').textContent = `${index + 1} / ${count}`;
    $('virtual').textContent = short(frame.promised);
    $('rollout').textContent = short(frame.rollout);
    badge();
    draw();
  },
  'recorded-end'() {
    page.playback = null;
    page.trail = [];
    if (page.nextFilm) page.film = page.nextFilm;
    if (page.plan) figures(page.plan);
    badge();
    draw();
  },
  moved() { page.moving = false; sendMove(); },
  failed({ message }) { fail(message); },
  // What was open before, if anything, is open still.
  refused({ message, task }) {
    fail(message);
    $('file').value = '';
    if (!task) return;
    page.opened = true;
    page.task = $('task').value = task;
    defaults();
    configure();
  },
};

const film = ({ steps, path, frames, size, executed = 0 }) => ({ steps, path, frames, size, executed });

function figures(plan) {
  $('ms').textContent = short(plan.milliseconds);
  $('virtual').textContent = short(plan.virtual);
  $('rollout').textContent = short(plan.rollout);
  $('iterations').textContent = plan.iterations;
}

function badge() {
  const long = page.thinking && performance.now() - page.thinking > 120;
  const text = page.playback ? `iteration ${page.playback.index + 1} of ${page.playback.count}` : long ? 'searching…' : page.solved ? 'solved' : '';
  $('badge').textContent = text;
  // Read aloud is what lasts, not each iteration.
  const status = page.playback ? '' : text;
  if ($('status').textContent !== status) $('status').textContent = status;
  $('badge').className = `badge ${page.playback || long ? 'thinking' : page.solved ? 'solved' : ''}`;
}

worker.onmessage = ({ data }) => told[data.type](data);
worker.onerror = event => fail(location.protocol === 'file:'
  ? 'A browser starts no worker from a file: serve the folder, for example with `python3 -m http.server`, and open it from there.'
  : `The planner could not be started: ${event.message ?? 'see the console'}`);

// ---- drawing --------------------------------------------------------------------------------------------

/** A canvas of as many pixels as the screen has there, with its context in CSS pixels. */
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const sceneBuffer = document.createElement('canvas');
let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawScene(); drawStrip(); drawDream(); });
}

/** The overlay lies on the picture, whose table is light in either theme. */
const NODE = '#b25a00', BACKED = '#1b56c4', DEFECT = '#c2264b';

function points(path, side) {
  const places = [];
  for (let index = 0; index < path.length; index += 3) places.push([path[index] * side, path[index + 1] * side, path[index + 2]]);
  return places;
}

function drawScene() {
  const { context, width } = surface($('scene'));
  if (page.scene) {
    sceneBuffer.width = sceneBuffer.height = page.scene.width;
    sceneBuffer.getContext('2d').putImageData(page.scene, 0, 0);
    context.imageSmoothingQuality = 'high';
    context.drawImage(sceneBuffer, 0, 0, width, width);
  }
  if (page.film && page.things.length) {
    const from = page.things[0].position.map(share => share * width);
    if (page.playback) drawIteration(context, width, from); else drawPlan(context, width, from);
  }
  drawHands(context, width);
}

function line(context, places, from, colour, size, clear = () => 1) {
  let [x, y] = from;
  context.strokeStyle = colour;
  context.lineWidth = size;
  context.lineCap = 'round';
  for (const place of places) {
    context.globalAlpha = clear(place);
    context.beginPath();
    context.moveTo(x, y);
    [x, y] = place;
    context.lineTo(x, y);
    context.stroke();
  }
  context.globalAlpha = 1;
}

function dot(context, [x, y], radius, fill, ring) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = fill;
  context.fill();
  if (ring) { context.strokeStyle = ring; context.lineWidth = 1.5; context.stroke(); }
}

const faint = ([, , confidence]) => 0.12 + 0.88 * Math.min(1, confidence);

function drawPlan(context, side, from) {
  const film = page.film;
  const left = points(film.path, side).filter((_, index) => film.steps[index] >= film.executed);
  line(context, left, from, '#ffffffd0', side / 90, faint);
  line(context, left, from, BACKED, side / 170, faint);
  left.forEach((place, index) => {
    context.globalAlpha = faint(place);
    dot(context, place, side / 130 * (1.25 - 0.5 * index / left.length), BACKED, '#ffffffd0');
  });
  context.globalAlpha = 1;
  const now = points(film.path, side)[page.moment];
  if (now) { context.globalAlpha = faint(now); dot(context, now, side / 55, '#ffffff', BACKED); context.globalAlpha = 1; }
}

/** One iteration: nodes, where their actions really lead, and the defects between them. */
function drawIteration(context, side, from) {
  const { path, rolledOut, relaxed } = page.playback;
  const nodes = points(path, side), real = points(rolledOut, side);
  page.trail.forEach((old, index) => line(context, points(old, side), from, NODE, 1, () => 0.05 + 0.03 * index));
  line(context, real, from, '#ffffffb0', side / 90, faint);
  line(context, real, from, BACKED, side / 170, faint);
  real.forEach(place => { context.globalAlpha = faint(place); dot(context, place, side / 150, BACKED); });
  context.globalAlpha = 1;
  if (!relaxed) return;
  context.setLineDash([2, 4]);
  nodes.forEach((node, index) => {
    const alpha = 0.6 * Math.min(faint(node), faint(real[index]));
    line(context, [node], real[index], DEFECT, 1.2, () => alpha);
  });
  context.setLineDash([]);
  line(context, nodes, from, NODE, side / 260, node => 0.75 * faint(node));
  nodes.forEach(node => { context.globalAlpha = faint(node); dot(context, node, side / 95, '#f2a33c', NODE); });
  context.globalAlpha = 1;
  const now = nodes[page.moment];
  if (now) dot(context, now, side / 60, '#ffffff', NODE);
}

function drawHands(context, side) {
  const seen = document.activeElement === $('scene') || page.dragging || page.hover;
  for (const { name, position: known, half } of page.things) {
    // The worker may be in the midst of a plan: the outline is where the hand is.
    const position = page.dragging === name && page.ghost ? page.ghost : known;
    const active = page.dragging === name || page.hover === name || (document.activeElement === $('scene') && page.chosen === name);
    if (!seen || !active) continue;
    context.strokeStyle = '#1d1d1f';
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    context.beginPath();
    context.roundRect((position[0] - half[0]) * side - 5, (position[1] - half[1]) * side - 5, 2 * half[0] * side + 10, 2 * half[1] * side + 10, 12);
    context.stroke();
    context.setLineDash([]);
  }
}

const frame = document.createElement('canvas');
function frameOf(film, index) {
  const { frames, size } = film;
  const bytes = 4 * size * size;
  if (frame.width !== size) frame.width = frame.height = size;
  frame.getContext('2d').putImageData(new ImageData(frames.slice(index * bytes, (index + 1) * bytes), size, size), 0, 0);
  return frame;
}

function drawDream() {
  const film = page.film;
  if (!film) return;
  page.moment = Math.min(page.moment, film.steps.length - 1);
  $('dream').getContext('2d').drawImage(frameOf(film, page.moment), 0, 0, 64, 64);
  const ahead = film.steps[page.moment] + 1;
  $('moment').textContent = `step ${ahead} of ${film.steps.at(-1) + 1}`;
  $('strip').setAttribute('aria-valuenow', ahead);
  $('strip').setAttribute('aria-valuemax', film.steps.at(-1) + 1);
}

function drawStrip() {
  const { context, width, height } = surface($('strip'));
  const film = page.film;
  if (!film) return;
  const count = Math.max(2, Math.round(width / height));
  const last = film.steps.length - 1;
  for (let index = 0; index < count; index += 1) {
    const moment = Math.round(index * last / (count - 1));
    context.drawImage(frameOf(film, moment), index * width / count, 0, width / count + 1, height);
  }
  const executed = film.steps.filter(step => step < film.executed).length;
  if (executed) { context.fillStyle = 'rgb(30 30 34 / .45)'; context.fillRect(0, 0, width * executed / (last + 1), height); }
  context.fillStyle = page.playback?.relaxed ? NODE : BACKED;
  context.fillRect(width * page.moment / (last + 1), height - 4, Math.max(4, width / (last + 1)), 4);
}

/** The film of the plan runs with the page, until somebody holds it. */
const still = matchMedia('(prefers-reduced-motion: reduce)');
setInterval(() => {
  if (!page.film || !page.running || page.scrubbing || still.matches || document.hidden) return;
  const next = page.moment + 1;
  page.moment = next >= page.film.steps.length ? page.film.steps.findIndex(step => step >= page.film.executed) : next;
  if (page.moment < 0) page.moment = page.film.steps.length - 1;
  draw();
}, 90);

// ---- curves ---------------------------------------------------------------------------------------------

/** Two charts over the iterations of a plan in slow motion, else over replans. */
const curves = {
  by: 'replans', rows: [],
  reset() { this.rows = []; this.draw(); },
  replans(plans) {
    this.by = 'replans';
    this.rows = plans.map(plan => ({ promised: plan.virtual, rollout: plan.rollout, violation: plan.violation, multiplier: plan.multiplier }));
    this.draw();
  },
  iterations() { this.by = 'iterations'; this.rows = []; },
  iteration(row) { this.rows.push(row); this.draw(); },
  draw() {
    chart($('chart-reward'), this.rows, this.by, [['promised', 'virtual'], ['rollout', 'rollout']], false);
    chart($('chart-violation'), this.rows, this.by, [['violation', 'violation'], ['multiplier', 'multiplier']], true);
  },
};

function chart(canvas, rows, by, series, logarithmic) {
  const { context, width, height } = surface(canvas);
  const [left, right, top, bottom] = [38, 8, 8, 20];
  const [ink, grid] = [theme('quiet'), theme('line')];
  context.font = '11px system-ui, sans-serif';
  context.fillStyle = ink;
  const value = number => logarithmic ? (number > 1e-12 ? Math.log10(number) : NaN) : number;
  const all = rows.flatMap(row => series.map(([key]) => value(row[key]))).filter(Number.isFinite);
  let low = Math.min(...all, logarithmic ? Infinity : 0), high = Math.max(...all, logarithmic ? -Infinity : 1);
  if (logarithmic) { low = Math.floor(low); high = Math.max(Math.ceil(high), low + 1); }
  context.textAlign = 'right';
  context.textBaseline = 'top';
  context.fillText(by, width - right, height - 13);
  if (!all.length) {
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(rows.length ? 'these plans keep the dynamics: nothing to show' : 'waiting for a plan', (left + width) / 2, (height - bottom) / 2);
    return;
  }
  const y = number => height - bottom - (number - low) / (high - low || 1) * (height - top - bottom);
  const x = index => left + (width - left - right) * (rows.length > 1 ? index / (rows.length - 1) : 0.5);
  context.textBaseline = 'middle';
  context.lineWidth = 1;
  const spacing = logarithmic ? Math.ceil((high - low) / 4) : (high - low) / 2;
  for (let whole = low; whole <= high + 1e-9; whole += spacing) {
    context.strokeStyle = grid;
    context.beginPath();
    context.moveTo(left, Math.round(y(whole)) + 0.5);
    context.lineTo(width - right, Math.round(y(whole)) + 0.5);
    context.stroke();
    context.fillText(logarithmic ? short(10 ** whole) : short(whole), left - 6, y(whole));
  }
  for (const [key, colour] of series) {
    context.strokeStyle = context.fillStyle = theme(colour);
    context.lineWidth = 2;
    context.lineJoin = 'round';
    context.beginPath();
    let drawn = false, lastPoint = null;
    rows.forEach((row, index) => {
      const number = value(row[key]);
      if (!Number.isFinite(number)) { drawn = false; return; }
      lastPoint = [x(index), y(number)];
      if (drawn) context.lineTo(...lastPoint); else context.moveTo(...lastPoint);
      drawn = true;
    });
    context.stroke();
    if (lastPoint) dot(context, lastPoint, 3, theme(colour));
  }
}

// ---- hands ----------------------------------------------------------------------------------------------

function nameThings(things) {
  if (!things.some(thing => thing.name === page.chosen)) page.chosen = (things.find(thing => thing.name !== 'effector') ?? things[0])?.name;
  $('things').replaceChildren(...things.map(({ name }) => {
    const label = document.createElement('label');
    const input = Object.assign(document.createElement('input'), { type: 'radio', name: 'thing', value: name, checked: name === page.chosen });
    input.onchange = () => { page.chosen = name; draw(); };
    label.append(input, name);
    return label;
  }));
}

const placeOf = event => {
  const { left, top, width, height } = $('scene').getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
};

/** The thing under a finger: the smallest that is hit, with some room about it. */
function thingAt([x, y], room) {
  const hit = page.things.filter(({ position, half }) => Math.abs(x - position[0]) <= half[0] + room && Math.abs(y - position[1]) <= half[1] + room);
  hit.sort((a, b) => a.half[0] * a.half[1] - b.half[0] * b.half[1]);
  return hit[0]?.name ?? null;
}

/** One move at a time is under way; the latest waits. */
function moveTo(name, x, y) {
  page.aim = page.wanted = { name, x, y };
  page.ghost = page.dragging && [x, y];
  draw();
  sendMove();
}
function sendMove() {
  if (page.moving || !page.wanted) return;
  page.moving = true;
  tell('move', page.wanted);
  page.wanted = null;
  if (!page.slow) return;
  page.playback = null;
}

const scene = $('scene');
scene.onpointerdown = event => {
  const place = placeOf(event);
  const name = thingAt(place, event.pointerType === 'touch' ? 0.04 : 0.015);
  if (!name || !page.opened) return;
  scene.setPointerCapture(event.pointerId);
  const thing = page.things.find(thing => thing.name === name);
  page.dragging = page.chosen = name;
  page.grip = [thing.position[0] - place[0], thing.position[1] - place[1]];
  document.querySelectorAll('#things input').forEach(input => { input.checked = input.value === name; });
  moveTo(name, ...thing.position);
  draw();
};
scene.onpointermove = event => {
  const place = placeOf(event);
  if (page.dragging) { moveTo(page.dragging, place[0] + page.grip[0], place[1] + page.grip[1]); return; }
  const hover = thingAt(place, 0.01);
  scene.style.cursor = hover ? 'grab' : 'default';
  if (hover !== page.hover) { page.hover = hover; draw(); }
};
scene.onpointerup = scene.onpointercancel = () => {
  if (!page.dragging) return;
  page.dragging = page.ghost = null;
  drop();
};
scene.onpointerleave = () => { page.hover = null; draw(); };
scene.onfocus = scene.onblur = () => draw();

/** The last move first, then the hand is off. */
function drop() {
  if (page.wanted) { tell('move', page.wanted); page.wanted = null; }
  tell('drop');
}

let settled = 0;
function nudge(dx, dy) {
  const thing = page.things.find(thing => thing.name === page.chosen);
  if (!thing) return;
  // The worker may be in the midst of a plan: keys go on from the move that is under way.
  const [x, y] = page.moving && page.aim.name === thing.name ? [page.aim.x, page.aim.y] : thing.position;
  moveTo(thing.name, x + dx, y + dy);
  clearTimeout(settled);
  settled = setTimeout(drop, 350);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const control = event.target.closest('select, input, button, summary');
  if (event.target === scene && ARROWS[event.key] && page.opened) {
    const size = event.shiftKey ? 0.08 : 0.025;
    nudge(...ARROWS[event.key].map(way => way * size));
    event.preventDefault();
    return;
  }
  // What a control does with a key itself is its own.
  if (control?.matches('select, [type=file]') || (control && [' ', 'Enter'].includes(event.key))) return;
  const keys = { ' ': () => $('run').click(), '.': () => $('step').click(), n: () => $('reset').click(), s: () => $('slow').click() };
  const act = keys[event.key.toLowerCase()] ?? (page.things[event.key - 1] && (() => { document.querySelectorAll('#things input')[event.key - 1].click(); scene.focus(); }));
  if (act) { act(); event.preventDefault(); }
});

const strip = $('strip');
const scrub = event => {
  if (!page.film) return;
  const { left, width } = strip.getBoundingClientRect();
  page.moment = Math.max(0, Math.min(page.film.steps.length - 1, Math.floor((event.clientX - left) / width * page.film.steps.length)));
  draw();
};
strip.onpointerenter = strip.onpointerdown = event => { page.scrubbing = true; scrub(event); };
strip.onpointermove = event => { if (page.scrubbing) scrub(event); };
strip.onpointerleave = strip.onpointerup = () => { page.scrubbing = false; };
strip.onkeydown = event => {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!way || !page.film) return;
  page.scrubbing = true;
  page.moment = Math.max(0, Math.min(page.film.steps.length - 1, page.moment + way));
  draw();
};
strip.onblur = () => { page.scrubbing = false; };

$('run').onclick = () => run(!page.running);
$('step').onclick = () => { run(false); tell('step'); };
$('reset').onclick = () => {
  if (!page.opened) return;
  page.seed += 1;
  page.request += 1;
  keepAddress();
  tell('reset', { seed: page.seed, request: page.request });
};
$('slow').onclick = () => slow(!page.slow);
$('pace').oninput = () => { outputs(); tell('pace', paces()); };
for (const name of ['horizon', 'every', 'multiplier', 'epsilon']) {
  $(name).oninput = outputs;
  $(name).onchange = configure;
}
$('planner').onchange = () => {
  page.preset = preset($('planner').value);
  const horizon = $('horizon').value;
  defaults();
  $('horizon').value = horizon;
  configure();
};
$('task').onchange = () => {
  if (page.preset === usual(page.task)) page.preset = usual($('task').value);
  page.task = $('task').value;
  $('planner').value = page.preset.id;
  defaults();
  open();
};
$('file').onchange = async event => {
  const [file] = event.target.files;
  if (file) open(new Uint8Array(await file.arrayBuffer()));
};
matchMedia('(prefers-color-scheme: dark)').onchange = () => { curves.draw(); draw(); };
let resized = 0;
addEventListener('resize', () => {
  clearTimeout(resized);
  resized = setTimeout(() => { tell('size', { size: pictureSize() }); curves.draw(); draw(); }, 120);
});

// Somebody follows a link to another state of the page.
addEventListener('hashchange', () => location.reload());

readAddress();
$('slow').setAttribute('aria-pressed', page.slow);
outputs();
curves.draw();
open();
