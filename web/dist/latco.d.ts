export { Playground, planners, tasks } from './engine/latco_web.js';

/** Starts the engine, once: from its own file, or from the bytes of it. */
export function init(bytes?: Uint8Array): Promise<{ memory: WebAssembly.Memory }>;

/** How to plan; what is left out keeps its default. */
export interface Setup {
  /** A name of `planners()`: `latco`, `icem`, `mppi`, … */
  planner?: string;
  /** Steps of a plan. */
  horizon?: number;
  /** λ at the start, of methods that have one. */
  multiplier?: number;
  /** The violation ε that is tolerated, of methods that have one. */
  epsilon?: number;
  /** Steps executed of a plan before the next is made; 1 where a setup is given, 10 without. */
  replanEvery?: number;
  /** Further settings of the planner by their names. */
  settings?: Record<string, unknown>;
}

/** A plan's figures. */
export interface Plan {
  /** The reward that the planned latents promise. */
  virtual: number;
  /** The reward of the same actions rolled out through the model: what backs the promise. */
  rollout: number;
  /** The mean return over copies with disturbed actions, of models that err. */
  robust: number | null;
  /** The largest violation of the dynamics. */
  violation: number;
  /** The largest multiplier λ. */
  multiplier: number;
  iterations: number;
  horizon: number;
  modelSteps: number;
  milliseconds: number;
  stop: 'converged' | 'stalled' | 'iterations' | 'deadline' | 'no_slope' | 'infeasible';
}

/** A world model, a planner, and the belief filtered through everything seen so far. */
export class Agent {
  private constructor();
  /** From the bytes of a checkpoint; throws an `Error` that says what is wrong with them. */
  static load(bytes: Uint8Array): Agent;
  /** Plans otherwise from the next step on, as if the episode began now. */
  configure(setup: Setup): void;
  /** Forgets the episode; the seed determines the plans of the next. */
  reset(seed?: number): void;
  /** The action for what is seen, in the environment's units; the picture has the size that the model was
   *  trained on, in RGBA or RGB. */
  act(image: ImageData | { data: Uint8Array | Uint8ClampedArray; width: number; height: number }): Float32Array;
  /** The figures of the present plan, null before the first. */
  readonly plan: Plan | null;
  /** Gives the agent's memory back. */
  free(): void;
}
