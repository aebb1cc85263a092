/**
 * The validated plan of `tapferry run`: parsed options -> what will be done. Pure; `--dry-run` prints it.
 */

import type { Latency, Queue, WhenStopped } from '../binding.ts'
import { usageError } from '../options/values.ts'
import { DEFAULT_BUFFER_BYTES, DEFAULT_BUFFER_FRAMES, type Hold } from './buffer-options.ts'
import { checkEnds, type PlannedEnd, planInput, planOutput } from './ends.ts'
import { DEFAULT_MARK, DEFAULT_PRE_ROLL_MS, type JobOptions, type RunOptions } from './options.ts'

/** Bounds the memory of the pre-roll, whatever the frame rate. */
const PRE_ROLL_BYTES = 16 * 1024 * 1024

/** Where a plan was made of an object of QEMU's. */
export interface PlannedObject {
  id: string
  /** The same in tapferry's own options, for a shell. */
  command: string
}

export interface RunPlan {
  object: PlannedObject | undefined
  input: PlannedEnd
  output: PlannedEnd
  /** Of in_netdev; means nothing to a stream. */
  queue: Queue
  latency: Latency
  completeOffloads: boolean
  monitor: string | undefined
  status: boolean
  whenStopped: WhenStopped
  preRollMs: number
  preRollBytes: number
  /** Undefined: frames are not held. */
  hold: Hold | undefined
  bufferBytes: number
  bufferFrames: number
  dropOldest: boolean
  mark: number
  wait: boolean
  /** Milliseconds; undefined: until stopped. */
  durationMs: number | undefined
  count: number | undefined
  /** Milliseconds; 0: no regular statistics. */
  statsIntervalMs: number
}

/** The gate's rule for a stopped VM; what shall be kept until the VM runs must pass it before. Throws usage errors. */
export function planWhenStopped(options: JobOptions): WhenStopped {
  if (options.hold === 'until-running' && options.qmp === undefined) {
    throw usageError(
      '--hold=until-running needs --qmp: without a monitor the VM counts as running and nothing is held',
      "add the VM's monitor, for example: --qmp /run/vm.qmp",
    )
  }
  if (options.hold === 'until-running' && !options.onlyWhenStopped) {
    if (options.enableWhenStopped !== false) return 'on'
    throw usageError(
      '--hold=until-running and --enable-when-stopped=off contradict each other: no frame would ever be held',
      'leave one of them out',
    )
  }
  if (!options.onlyWhenStopped) return options.enableWhenStopped ? 'on' : 'off'
  if (options.enableWhenStopped === false) {
    throw usageError(
      '--only-when-stopped and --enable-when-stopped=off contradict each other: the gate would never open',
      'leave one of them out',
    )
  }
  if (options.qmp === undefined) {
    throw usageError(
      '--only-when-stopped needs --qmp: without a monitor the VM counts as running and the gate never opens',
      "add the VM's monitor, for example: --qmp /run/vm.qmp",
    )
  }
  return 'only'
}

/** Checks what only the options together can tell, and fills in the defaults. Throws usage errors. */
export function planRun(options: RunOptions): RunPlan {
  const input = planInput(options)
  const output = planOutput(options)
  checkEnds(input, output, options)
  if (options.quiet && options.verbose) {
    throw usageError('--quiet and --verbose contradict each other', 'leave one of them out')
  }
  return {
    object: undefined,
    input,
    output,
    queue: options.queue ?? 'tx',
    latency: options.latency ?? 'balanced',
    // Nothing beside a datagram could say what is left to do.
    completeOffloads: options.offloads === 'complete' || output.kind === 'datagram',
    monitor: options.qmp,
    status: options.status ?? true,
    whenStopped: planWhenStopped(options),
    preRollMs: options.preRoll ?? DEFAULT_PRE_ROLL_MS,
    preRollBytes: PRE_ROLL_BYTES,
    hold: options.hold,
    bufferBytes: options.buffer ?? DEFAULT_BUFFER_BYTES,
    bufferFrames: options.bufferFrames ?? DEFAULT_BUFFER_FRAMES,
    dropOldest: options.drop === 'oldest',
    mark: options.mark ?? DEFAULT_MARK,
    wait: options.wait ?? false,
    durationMs: options.duration,
    count: options.count,
    statsIntervalMs: options.statsInterval ?? 0,
  }
}
