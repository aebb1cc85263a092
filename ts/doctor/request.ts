/** What a run would be asked to do, as far as doctor knows. Throws the usage errors of the run. Pure. */

import type { Latency, Queue, WhenStopped } from '../binding.ts'
import {
  checkEnds,
  type DatagramPlan,
  planInput,
  planOutput,
  type StreamPlan,
  writtenHeaderLength,
} from '../run/ends.ts'
import { DEFAULT_MARK } from '../run/options.ts'
import { planWhenStopped } from '../run/plan.ts'
import type { DoctorOptions } from './options.ts'

export interface Request {
  readonly inNetdev: string | undefined
  readonly outNetdev: string | undefined
  readonly indev: StreamPlan | undefined
  readonly outdev: StreamPlan | undefined
  /** The same, of datagrams. */
  readonly inDatagrams: DatagramPlan | undefined
  readonly outDatagrams: DatagramPlan | undefined
  /** Bytes of the header that is written to outdev; undefined where that is not known before frames come. */
  readonly headerLength: number | undefined
  /** As `--netns` takes them. */
  readonly inNetns: string | undefined
  readonly outNetns: string | undefined
  readonly queue: Queue
  /** Undefined where nothing is captured: frames come from a stream. */
  readonly latency: Latency | undefined
  readonly monitor: string | undefined
  readonly status: boolean
  readonly whenStopped: WhenStopped
  readonly mark: number
  /** Whether what is missing is waited for. */
  readonly wait: boolean
  /** The words after `tapferry`, from which a corrected command is made. */
  readonly argv: readonly string[]
}

export function requestOf(options: DoctorOptions, argv: readonly string[]): Request {
  const { inNetdev, indev, outNetdev, outdev } = options
  const input = inNetdev === undefined && indev === undefined ? undefined : planInput(options)
  const output = outNetdev === undefined && outdev === undefined ? undefined : planOutput(options)
  if (input !== undefined && output !== undefined) checkEnds(input, output, options)
  const written = output?.kind === 'stream' ? output : undefined
  return {
    inNetdev,
    outNetdev,
    indev: input?.kind === 'stream' ? input : undefined,
    outdev: written,
    inDatagrams: input?.kind === 'datagram' ? input : undefined,
    outDatagrams: output?.kind === 'datagram' ? output : undefined,
    headerLength: written && (input ? writtenHeaderLength(input, written) : written.vnetHdrLength),
    inNetns: options.netns,
    outNetns: options.outNetns ?? options.netns,
    queue: options.queue ?? 'tx',
    latency: indev === undefined ? (options.latency ?? 'balanced') : undefined,
    monitor: options.qmp,
    status: options.status ?? true,
    whenStopped: planWhenStopped(options),
    mark: options.mark ?? DEFAULT_MARK,
    wait: options.wait ?? false,
    argv,
  }
}
