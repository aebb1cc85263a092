/**
 * What a handover that was killed leaves on the destination's host: the raised queue length of a TAP, and where the
 * kernel has no tcx a gate that is open, which both harm nobody; and a record of what the length was before. Whoever
 * starts next puts it right, and so does `tapferry handover cleanup`.
 * Of what it leaves at the source, see capability-leftovers.ts; of how records are kept, records.ts.
 *
 *     /run/tapferry/handover-PID-IFINDEX.json     one a netdev, from before the start to after the end
 *
 * While the kernel changes a queue length it drops what is sent, for some milliseconds. So it is set back in a pause of
 * the traffic; where there is none, it stays for now, and so does the record. The gate goes at once. Everything else of a
 * handover ends with its process.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { HostInterface } from '../binding.ts'
import { TapferryError } from '../errors.ts'
import { findNetns, ownNetnsId } from '../host/namespaces.ts'
import { loadBinding } from '../native.ts'
import type { Printer } from '../output/printer.ts'
import {
  type Owner,
  recordDirectories,
  recordsOfTheGone,
  removeRecord,
  thisProcess,
  writeRecord,
} from './records.ts'

/** What the core raises it to: crates/handover/src/plan.rs, QUEUE_LENGTH. */
export const RAISED_QUEUE_LENGTH = 50_000

/** A pause: nothing was sent for so long. How long the change takes here is not known: mostly 5 ms, 100 on a busy host. */
const PAUSE_MS = 200
/** How often one is looked for. */
const LOOKS = 10

export interface LeftoverRecord extends Owner {
  readonly interface: string
  readonly ifindex: number
  /** `net:[...]` */
  readonly namespace: string
  /** Frames, as it was before. */
  readonly queueLength: number
}

/** What was found, and what became of it. */
export interface Leftover {
  readonly record: LeftoverRecord
  /** There was a gate, and it was taken away. */
  readonly gate: boolean
  /**
   * What became of the queue length. `none`: the interface is gone, or has another queue length than ours; `busy`: there was no pause in its traffic;
   * `forced`: set back without one.
   */
  readonly action: 'restored' | 'forced' | 'none' | 'busy' | 'failed'
  readonly problem?: TapferryError
}

/** Records of this process. */
export class Records {
  readonly #directories: readonly string[]
  /** By the name of the interface. */
  readonly #files = new Map<string, string>()

  constructor(directories: readonly string[] = recordDirectories()) {
    this.#directories = directories
  }

  /**
   * Remembers the queue length of an interface. Answers whether there was a place to write that to; an interface that
   * is not there has nothing to remember.
   */
  async write(name: string, netns: string | undefined): Promise<boolean> {
    const { interfaces, namespace } = await loadBinding().inspectNetwork(netns)
    const netdev = interfaces.find(each => each.name === name)
    if (netdev === undefined) return true
    const record: LeftoverRecord = {
      ...(await thisProcess()),
      ...{ interface: name, ifindex: netdev.ifindex, namespace, queueLength: netdev.txQueueLength },
    }
    const file = await writeRecord(
      `handover-${process.pid}-${netdev.ifindex}.json`,
      record,
      this.#directories,
    )
    if (file !== undefined) this.#files.set(name, file)
    return file !== undefined
  }

  /** The queue length of an interface stays as it is for now: somebody else will put it right. */
  leave(name: string): void {
    this.#files.delete(name)
  }

  /** Everything is as it was, but for what is left. */
  async remove(): Promise<void> {
    const files = [...this.#files.values()]
    this.#files.clear()
    await Promise.all(files.map(removeRecord))
  }
}

/**
 * Looks at the records of processes that are gone, does what can be done, and removes them. `force`: also while frames
 * are sent, of which some are lost then.
 */
export async function putLeftoversRight({
  directories = recordDirectories(),
  force = false,
}: {
  directories?: readonly string[]
  force?: boolean
} = {}): Promise<Leftover[]> {
  const leftovers: Leftover[] = []
  for await (const { file, record } of recordsOfTheGone(directories, /^handover-\d+-\d+\.json$/, isRecord)) {
    const leftover = await putRight(record, force)
    // What failed can be tried again, with more privileges or at another time.
    if (leftover.action !== 'failed' && leftover.action !== 'busy') await removeRecord(file)
    leftovers.push(leftover)
  }
  return leftovers
}

function isRecord(parsed: Partial<LeftoverRecord>): boolean {
  const { ifindex, namespace, queueLength } = parsed
  const numbers = [ifindex, queueLength].every(each => Number.isSafeInteger(each) && Number(each) >= 0)
  const texts = [namespace, parsed.interface].every(each => typeof each === 'string')
  return numbers && texts
}

async function putRight(record: LeftoverRecord, force: boolean): Promise<Leftover> {
  let gate = false
  try {
    const netns = await wayInto(record.namespace)
    if (netns === 'gone') return { record, gate, action: 'none' }
    gate = await loadBinding().removeLeftGate(record.ifindex, record.pid, netns)
    const netdev = await findNetdev(record, netns)
    // Another length is somebody else's doing.
    if (netdev?.txQueueLength !== RAISED_QUEUE_LENGTH) return { record, gate, action: 'none' }
    const pauses = await hasPause(record, netns)
    if (!pauses && !force) return { record, gate, action: 'busy' }
    await loadBinding().setQueueLength(record.ifindex, record.queueLength, netns)
    return { record, gate, action: pauses ? 'restored' : 'forced' }
  } catch (error) {
    return { record, gate, action: 'failed', problem: TapferryError.from(error) }
  }
}

async function findNetdev(
  { ifindex }: LeftoverRecord,
  netns: string | undefined,
): Promise<HostInterface | undefined> {
  const { interfaces } = await loadBinding().inspectNetwork(netns)
  return interfaces.find(netdev => netdev.ifindex === ifindex)
}

/** Waits a while for a pause in what is sent through the interface. */
async function hasPause(record: LeftoverRecord, netns: string | undefined): Promise<boolean> {
  const sent = async () => {
    const netdev = await findNetdev(record, netns)
    return netdev === undefined ? undefined : netdev.txPackets + netdev.txDropped
  }
  let before = await sent()
  for (let look = 0; look < LOOKS; look += 1) {
    await sleep(PAUSE_MS)
    const now = await sent()
    if (now === before) return true
    before = now
  }
  return false
}

/** Undefined: this process is in it. */
async function wayInto(namespace: string): Promise<string | undefined | 'gone'> {
  if (namespace === (await ownNetnsId())) return undefined
  return (await findNetns(namespace))?.path ?? 'gone'
}

export function tellLeftovers(leftovers: readonly Leftover[], printer: Printer): void {
  for (const { record, gate, action, problem } of leftovers) {
    const { interface: netdev, queueLength, pid } = record
    const whose = `a handover that was killed (process ${pid})`
    const tell = (message: string): void => {
      printer.notice(message)
      printer.record('event', { event: 'leftover', netdev, message })
    }
    if (gate) tell(`the gate before ${netdev} is gone: ${whose} had left it, open`)
    if (problem !== undefined) {
      const message = `what ${whose} has changed on ${netdev} is still so: ${problem.message}`
      printer.warning(message)
      printer.hint(problem.hint)
      printer.record('event', { event: 'leftover', netdev, message, code: problem.code })
      continue
    }
    if (gate && action === 'none') continue
    const message = {
      restored: `the queue length of ${netdev} is ${queueLength} again: ${whose} had raised it`,
      forced: `the queue length of ${netdev} is ${queueLength} again: ${whose} had raised it; its traffic did not pause, so some frames may be lost`,
      busy: `the queue length of ${netdev} is still that of ${whose}: its traffic does not pause, and some frames would be lost; tapferry handover cleanup does it all the same`,
      none: `nothing of ${whose} is left on ${netdev}`,
    }[action as Exclude<Leftover['action'], 'failed'>]
    tell(message)
  }
}
