// `node web/tests/browser.mjs`: drives the built page in headless Chromium, from the checkout's own files.
// CHROMIUM names the browser, /usr/bin/chromium else; SHOTS a folder for screenshots; prints what it measured.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';
import { serve } from './server.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const replans = Number(process.env.LATCO_REPLANS ?? 500);
const server = await serve(root);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--enable-precise-memory-info'],
});
const measured = { browser: browser.version() };
let shots = 0;

/** A page at this address within web/dist, whose complaints are kept. */
async function visit(address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 1180 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', error => complaints.push(String(error)));
  await page.goto(`${server.url}/web/dist/${address}`);
  return { page, complaints, close: () => context.close() };
}

const opened = (page, task) => page.waitForFunction(task => document.body.dataset.opened === task, task, { timeout: 60_000 });
const solved = (page, timeout = 60_000) => page.waitForFunction(() => document.body.dataset.solved === 'true', null, { timeout });
const replanned = (page, more) => page.evaluate(() => Number(document.body.dataset.replans ?? 0)).then(before =>
  page.waitForFunction(count => Number(document.body.dataset.replans ?? 0) >= count, before + more, { timeout: 240_000 }));
const things = page => page.evaluate(() => JSON.parse(document.getElementById('scene').dataset.things));
const numberOf = (page, id) => page.evaluate(id => Number(document.getElementById(id).textContent), id);
const slide = (page, id, value) => page.evaluate(([id, value]) => {
  const input = document.getElementById(id);
  input.value = value;
  input.dispatchEvent(new Event('input'));
  input.dispatchEvent(new Event('change'));
}, [id, value]);

async function shoot(page, name) {
  if (!process.env.SHOTS) return;
  await mkdir(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });
  shots += 1;
}

/** CHECKS names those wanted, as a regular expression. */
const wanted = new RegExp(process.env.CHECKS ?? '.');

async function check(name, test) {
  if (!wanted.test(name)) return;
  const began = performance.now();
  await test();
  console.error(`ok  ${name} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
}

await check('the same seed gives the plan of the native build', async () => {
  const { page, close } = await visit('example.html');
  const plans = JSON.parse(await readFile(join(root, 'web/tests/plans.json')));
  const differences = await page.evaluate(async plans => {
    const { init, Playground } = await import('./latco.js');
    await init();
    const found = [];
    for (const { task, checkpoint, setup, seed, actions } of plans) {
      const bytes = new Uint8Array(await (await fetch(`/${checkpoint}`)).arrayBuffer());
      const playground = new Playground(task, bytes, setup);
      playground.reset(seed);
      playground.think(false);
      const made = playground.actions();
      found.push([`${task} ${setup.planner}`, Math.max(...actions.map((action, index) => Math.abs(action - made[index])))]);
      playground.free();
    }
    return found;
  }, plans);
  measured.differences = Object.fromEntries(differences);
  // An engine older than the libraries makes the plans of its own time.
  if (process.env.LATCO_OLD_ENGINE) return close();
  for (const [what, difference] of differences) assert.ok(difference <= 1e-3, `${what}: ${difference}`);
  await close();
});

await check('it loads, plans and solves reach', async () => {
  const { page, complaints, close } = await visit('#task=reach&seed=3');
  await opened(page, 'reach');
  await page.waitForFunction(() => document.body.dataset.firstPlan);
  measured.first_plan_ms = Number(await page.evaluate(() => document.body.dataset.firstPlan));
  await solved(page);
  await shoot(page, 'reach-light');
  assert.deepEqual(complaints, []);
  const wire = Object.entries(server.sent).filter(([path]) => path.startsWith('/web/') && !path.includes('tests') && !path.endsWith('example.html'));
  const sizes = await Promise.all(wire.map(async ([path]) => gzipSync(await readFile(join(root, path.endsWith('/') ? `${path}index.html` : path))).length));
  measured.bytes_over_the_wire = sizes.reduce((all, size) => all + size, 0);
  await close();
});

await check('a task opens while scenes of another run, also after a failure', async () => {
  const { page, close } = await visit('#task=reach&seed=3');
  await opened(page, 'reach');
  let refused = 0;
  await page.context().route('**/two-room.safetensors*', async route => {
    if (refused++ === 0) return route.fulfill({ status: 503 });
    await new Promise(resolve => setTimeout(resolve, 6000));
    return route.continue();
  });
  const choose = task => page.selectOption('#task', task);
  await choose('two-room');
  await page.waitForFunction(() => document.getElementById('alert').textContent.includes('503'));
  // The same once more, with scenes of reach while the model is on its way.
  await page.click('#run');
  await solved(page);
  await choose('reach');
  await choose('two-room');
  await opened(page, 'two-room');
  await close();
});

await check('an address of a task that is not there leads to one that is', async () => {
  const { page, close } = await visit('#task=moon&seed=3');
  await opened(page, 'reach');
  assert.equal(await page.locator('#task').inputValue(), 'reach');
  assert.match(page.url(), /#task=reach&/);
  assert.equal(await page.textContent('#alert'), 'There is no task moon here: this is reach.');
  assert.equal(await page.locator('#planner').inputValue(), 'relaxed');
  await replanned(page, 3);
  await close();
});

await check('the address follows new scenes, and keys work after a click', async () => {
  const { page, complaints, close } = await visit('#task=reach&planner=relaxed&seed=3');
  await opened(page, 'reach');
  await page.click('#run');
  await page.click('#reset');
  await page.click('#reset');
  assert.match(page.url(), /seed=5/);
  await page.keyboard.press('n');
  assert.match(page.url(), /seed=6/);
  await page.waitForFunction(() => document.getElementById('steps').textContent === '0');
  await page.click('#step');
  await page.keyboard.press('.');
  await page.waitForFunction(() => document.getElementById('steps').textContent === '2');
  assert.match(page.url(), /seed=6/);
  // Of a page at rest the film is at rest.
  const moment = await page.textContent('#moment');
  await page.waitForTimeout(1000);
  assert.equal(await page.textContent('#moment'), moment);
  assert.deepEqual(complaints, []);
  await close();
});

await check('nothing moves by itself where that is asked for', async () => {
  const { page, close } = await visit('#task=reach&planner=relaxed&seed=3', { reducedMotion: 'reduce' });
  await opened(page, 'reach');
  await replanned(page, 2);
  const moments = new Set();
  for (let look = 0; look < 10; look += 1) {
    moments.add((await page.textContent('#moment')).split(' of ')[0]);
    await page.waitForTimeout(100);
  }
  assert.equal(moments.size, 1, [...moments].join());
  await close();
});

await check('two-room is solved', async () => {
  const { page, complaints, close } = await visit('#task=two-room&planner=latco&seed=1');
  await opened(page, 'two-room');
  await solved(page, 600_000);
  assert.deepEqual(complaints, []);
  await close();
});

await check('the goal is dragged, with mouse and keys, and reached again', async () => {
  const { page, complaints, close } = await visit('#task=reach&seed=3');
  await opened(page, 'reach');
  await solved(page);
  const before = (await things(page)).find(thing => thing.name === 'goal').position;
  const target = before.map(share => 1 - share);
  const box = await page.locator('#scene').boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  // By its edge: the effector lies on its middle.
  const grip = [before[0], before[1] + 0.14];
  await page.mouse.move(...at(grip));
  await page.mouse.down();
  for (let step = 1; step <= 12; step += 1) {
    await page.mouse.move(...at([0, 1].map(axis => grip[axis] + (target[axis] - before[axis]) * step / 12)));
    await page.waitForTimeout(40);
  }
  await page.mouse.up();
  // The worker hears of it when the plan under way is made.
  const goalNear = place => page.waitForFunction(([x, y]) => {
    const goal = JSON.parse(document.getElementById('scene').dataset.things).find(thing => thing.name === 'goal').position;
    return Math.hypot(goal[0] - x, goal[1] - y) < 0.05;
  }, place, { timeout: 60_000 });
  await goalNear(target);
  await solved(page, 120_000);
  await page.locator('#scene').focus();
  await page.keyboard.press('2');
  await page.keyboard.press('Shift+ArrowLeft');
  await goalNear([target[0] - 0.08, target[1]]);
  // Keys that come while the worker plans go on from one another.
  const [x, y] = (await things(page)).find(thing => thing.name === 'goal').position;
  const [key, way] = y < 0.5 ? ['ArrowDown', 1] : ['ArrowUp', -1];
  for (let press = 0; press < 4; press += 1) await page.keyboard.press(`Shift+${key}`);
  await goalNear([x, y + way * 4 * 0.08]);
  assert.deepEqual(complaints, []);
  await close();
});

await check('every planner plans, every task opens', async () => {
  const { page, complaints, close } = await visit('#task=reach&planner=latco&seed=3');
  await opened(page, 'reach');
  const planners = await page.locator('#planner option').evaluateAll(options => options.map(option => option.value));
  measured.plan_ms = {};
  await slide(page, 'horizon', 15);
  for (const planner of planners) {
    await page.selectOption('#planner', planner);
    await replanned(page, 1);
    measured.plan_ms[planner] = await numberOf(page, 'ms');
    assert.ok(await page.locator('#alert').isHidden(), planner);
  }
  await page.selectOption('#planner', 'latco');
  const tasks = await page.locator('#task option').evaluateAll(options => options.map(option => option.value));
  assert.ok(tasks.length >= 8, String(tasks));
  for (const task of tasks) {
    await page.selectOption('#task', task);
    await opened(page, task);
    await replanned(page, 3);
  }
  assert.deepEqual(complaints, []);
  await close();
});

await check('slow motion shows relaxed nodes that come back to the dynamics', async () => {
  const { page, complaints, close } = await visit('#task=reach&planner=latco-paper&seed=3&slow');
  await opened(page, 'reach');
  await slide(page, 'pace', 30);
  await page.waitForFunction(() => /^iteration \d\d of/.test(document.getElementById('badge').textContent), null, { timeout: 60_000 });
  await shoot(page, 'slow-motion');
  await page.waitForFunction(() => document.getElementById('steps').textContent === '1', null, { timeout: 120_000 });
  assert.deepEqual(complaints, []);
  await close();
});

await check(`${replans} replans as fast as it goes, without growth`, async () => {
  const { page, complaints, close } = await visit('#task=reach&planner=relaxed&seed=3');
  await opened(page, 'reach');
  await slide(page, 'pace', 31);
  const memory = () => page.evaluate(() => performance.memory.usedJSHeapSize);
  const engine = () => page.evaluate(() => Number(document.getElementById('machine').textContent.match(/(\d+) MB/)[1]));
  await replanned(page, 150);
  const before = [await engine(), await memory()];
  const began = performance.now();
  await replanned(page, replans);
  measured.replans_per_second = Math.round(10 * replans / (performance.now() - began) * 1000) / 10;
  const after = [await engine(), await memory()];
  measured.engine_megabytes = after[0];
  assert.equal(after[0], before[0]);
  assert.ok(after[1] < before[1] + 40e6, `the page's own heap: ${before[1]} to ${after[1]}`);
  assert.deepEqual(complaints, []);
  await close();
});

await check('a damaged checkpoint is a sentence', async () => {
  const { page, close } = await visit('#task=reach&planner=latco&seed=3');
  await opened(page, 'reach');
  const damaged = join(tmpdir(), `latco-damaged-${process.pid}.safetensors`);
  const bytes = await readFile(join(root, 'web/models/reach.safetensors'));
  await writeFile(damaged, bytes.subarray(0, 5000));
  await page.setInputFiles('#file', damaged);
  await page.waitForSelector('#alert:not([hidden])');
  const text = await page.textContent('#alert');
  assert.match(text, /^the checkpoint of reach is not a safetensors file: /);
  // The task that was open is so still.
  await slide(page, 'horizon', 5);
  await page.click('#run');
  await page.waitForFunction(() => / of 5$/.test(document.getElementById('moment').textContent));
  assert.ok(await page.locator('#alert').isHidden());
  await page.selectOption('#task', 'window');
  await opened(page, 'window');
  await close();
});

await check('an agent acts on a canvas of somebody else', async () => {
  const { page, complaints, close } = await visit('example.html');
  await page.waitForFunction(() => /reward ahead/.test(document.getElementById('figures').textContent), null, { timeout: 60_000 });
  assert.deepEqual(complaints, []);
  await close();
});

await check('it is usable in the dark, and at 360 pixels', async () => {
  const dark = await visit('#task=two-room&planner=latco&seed=5', { colorScheme: 'dark' });
  await opened(dark.page, 'two-room');
  await replanned(dark.page, 10);
  await shoot(dark.page, 'two-room-dark');
  await dark.close();
  for (const colorScheme of ['light', 'dark']) {
    const small = await visit('#task=reach&planner=latco&seed=3', { colorScheme, viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true });
    await opened(small.page, 'reach');
    await replanned(small.page, 6);
    const wide = await small.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 360, `${wide} pixels wide`);
    await shoot(small.page, `small-${colorScheme}`);
    await small.close();
  }
});

await browser.close();
server.close();
console.log(JSON.stringify(measured, null, 2));
