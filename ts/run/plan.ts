/**
 * The validated plan of `tapferry run`: parsed options -> what will be done. Pure; `--dry-run` prints it.
 */

import type { Latency, Queue, WhenStopped } from '../binding.ts'
import { usageError } from '../options/values.ts'
import { DEFAULT_MARK, DEFAULT_PRE_ROLL_MS, type RunOptions } from './options.ts'

/** Bounds the memory of the pre-roll, whatever the frame rate. */
const PRE_ROLL_BYTES = 16 * 1024 * 1024

export interface RunPlan {
  /** As given: host interface names or netdev ids of QEMU. */
  inNetdev: string
  outNetdev: string
  /** The network namespaces of interfaces that are given by name: a name, a path or a process's number. */
  inNetns: string | undefined
  outNetns: string | undefined
  queue: Queue
  monitor: string | undefined
  status: boolean
  whenStopped: WhenStopped
  preRollMs: number
  preRollBytes: number
  latency: Latency
  mark: number
  wait: boolean
  /** Milliseconds; undefined: until stopped. */
  durationMs: number | undefined
  count: number | undefined
  /** Milliseconds; 0: no regular statistics. */
  statsIntervalMs: number
}

/** The gate's rule for a stopped VM. Throws usage errors. */
export function planWhenStopped(
  options: Pick<RunOptions, 'onlyWhenStopped' | 'enableWhenStopped' | 'qmp'>,
): WhenStopped {
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
  const { inNetdev, outNetdev } = options
  const example = 'for example: tapferry run --in-netdev tapA --out-netdev tapB'
  if (inNetdev === undefined) throw usageError('--in-netdev is missing: nothing to capture from', example)
  if (outNetdev === undefined) throw usageError('--out-netdev is missing: nothing to inject into', example)
  if (options.quiet && options.verbose) {
    throw usageError('--quiet and --verbose contradict each other', 'leave one of them out')
  }
  return {
    inNetdev,
    outNetdev,
    inNetns: options.netns,
    outNetns: options.outNetns ?? options.netns,
    queue: options.queue ?? 'tx',
    monitor: options.qmp,
    status: options.status ?? true,
    whenStopped: planWhenStopped(options),
    preRollMs: options.preRoll ?? DEFAULT_PRE_ROLL_MS,
    preRollBytes: PRE_ROLL_BYTES,
    latency: options.latency ?? 'balanced',
    mark: options.mark ?? DEFAULT_MARK,
    wait: options.wait ?? false,
    durationMs: options.duration,
    count: options.count,
    statsIntervalMs: options.statsInterval ?? 0,
  }
}
