/** What a run would be asked to do, as far as doctor knows. Pure. */

import type { Latency, Queue, WhenStopped } from '../binding.ts'
import { DEFAULT_MARK } from '../run/options.ts'
import { planWhenStopped } from '../run/plan.ts'
import type { DoctorOptions } from './options.ts'

export interface Request {
  readonly inNetdev: string | undefined
  readonly outNetdev: string | undefined
  /** As `--netns` takes them. */
  readonly inNetns: string | undefined
  readonly outNetns: string | undefined
  readonly queue: Queue
  readonly latency: Latency
  readonly monitor: string | undefined
  readonly status: boolean
  readonly whenStopped: WhenStopped
  readonly mark: number
  /** The words after `tapferry`, from which a corrected command is made. */
  readonly argv: readonly string[]
}

export function requestOf(options: DoctorOptions, argv: readonly string[]): Request {
  return {
    inNetdev: options.inNetdev,
    outNetdev: options.outNetdev,
    inNetns: options.netns,
    outNetns: options.outNetns ?? options.netns,
    queue: options.queue ?? 'tx',
    latency: options.latency ?? 'balanced',
    monitor: options.qmp,
    status: options.status ?? true,
    whenStopped: planWhenStopped(options),
    mark: options.mark ?? DEFAULT_MARK,
    argv,
  }
}
