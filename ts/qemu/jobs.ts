/**
 * The `-chardev`s and `-object`s of a command line to jobs: what `tapferry run` would be told in its own words. Pure.
 *
 *     keyval.ts    the syntax          given.ts    values by name and type
 *     chardev.ts   one -chardev        object.ts   one -object
 *     chain.ts     the order of filters, and which of them a buffer is for
 *     chardevs.ts  who uses which      credentials.ts  whose TLS credentials
 *     meaning.ts   what cannot mean the same here
 *
 * A job is texts of options, which are then read by the very parsers of the options: so that both spellings cannot
 * come to mean different things.
 */

import type { TapferryError } from '../errors.ts'
import { bufferFor, type Chain, chainOf, type Filter, indevsBefore } from './chain.ts'
import { parseChardev } from './chardev.ts'
import { Chardevs } from './chardevs.ts'
import { Credentials } from './credentials.ts'
import { Refusals, refuseTwins, unsupported } from './failures.ts'
import { doubleCommas } from './keyval.ts'
import { refuseDirections, refuseIdleBuffer, refuseRedirection } from './meaning.ts'
import { type BufferFilter, parseObject, type QemuObject, type StreamFilter } from './object.ts'

/** Options of `tapferry run` by their keys, as texts; a switch is an empty one. */
export type JobTexts = Readonly<Record<string, string>>

export interface Job {
  /** The object's. */
  readonly id: string
  /** `filter-mirror 'm0'` */
  readonly subject: string
  readonly texts: JobTexts
}

export interface Jobs {
  readonly jobs: readonly Job[]
  /** What is left out here, or is a little different, a line each. */
  readonly notes: readonly string[]
}

/**
 * `holdsWhileStopped`: what an indev brings for a VM that is known to be stopped shall be kept, as QEMU does it.
 * Throws QEMU_OPTION_INVALID and QEMU_OPTION_UNSUPPORTED, with all that is to be said of the objects.
 */
export function jobsOf(
  chardevTexts: readonly string[],
  objectTexts: readonly string[],
  holdsWhileStopped: boolean,
): Jobs {
  const refusals = new Refusals()
  const chardevs = new Chardevs(chardevTexts.map(text => parseChardev(text, '--chardev')))
  const objects = objectTexts.flatMap(text => refusals.collect(() => parseObject(text, '--object')))
  refuseTwins('object', objects)
  const credentials = new Credentials(objects, refusals.none)
  const chain = chainOf(objects.filter((object): object is Filter => 'place' in object))
  const work = objects
    .filter(object => object.kind === 'stream')
    .flatMap(filter => refusals.collect(() => workOf(filter, chain, chardevs, credentials)))
  const idle = chain.filters
    .filter(filter => filter.kind === 'buffer')
    .filter(buffer => buffer.status && !work.some(each => each.buffer === buffer))
  // Behind a filter that is refused, a buffer may be right.
  if (refusals.none) for (const buffer of idle) refusals.collect(() => refuseIdleBuffer(buffer))
  refusals.throwIfAny(objectTexts.length)
  if (work.length === 0) throw nothingToDo(objects)
  return {
    jobs: work.map(each => jobOf(each, holdsWhileStopped)),
    notes: notesOf(work, objects, chain, chardevs, credentials),
  }
}

/** A filter with all that belongs to it. */
interface Work {
  readonly filter: StreamFilter
  /** As `--indev` and `--outdev` take it. */
  readonly address: string
  readonly reconnects: boolean
  readonly buffer: BufferFilter | undefined
}

function workOf(filter: StreamFilter, chain: Chain, chardevs: Chardevs, credentials: Credentials): Work {
  refuseRedirection(filter)
  refuseDirections(filter)
  const stream = chardevs.use(filter.outdev ?? filter.indev ?? '', filter)
  const directory = credentials.directoryFor(filter, stream)
  const address =
    directory === undefined ? stream.address : `${stream.address},tls-creds=${doubleCommas(directory)}`
  return { filter, address, reconnects: stream.reconnects, buffer: bufferFor(filter, chain) }
}

function nothingToDo(objects: readonly QemuObject[]): TapferryError {
  const subject = objects.map(object => object.subject).join(', ') || '--chardev'
  return unsupported(
    subject,
    'no object here takes or gives frames',
    'add one: --object filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=c0',
  )
}

function jobOf({ filter, address, reconnects, buffer }: Work, holdsWhileStopped: boolean): Job {
  const { id, subject, netdev, queue, status, vnetHdrSupport, enableWhenStopped } = filter
  const captures = filter.outdev !== undefined
  const keeps = holdsWhileStopped && !captures && enableWhenStopped === undefined
  const hold = buffer === undefined ? (keeps ? 'until-running' : undefined) : String(holdMs(buffer))
  const texts = {
    ...(captures ? { inNetdev: netdev, queue, outdev: address } : { indev: address, outNetdev: netdev }),
    ...(vnetHdrSupport ? { vnetHdrSupport: 'on' } : {}),
    ...(status ? {} : { status: 'off' }),
    ...(enableWhenStopped === undefined ? {} : { enableWhenStopped: enableWhenStopped ? 'on' : 'off' }),
    ...(hold === undefined ? {} : { hold }),
    ...(reconnects ? { wait: '' } : {}),
  }
  return { id, subject, texts }
}

function holdMs({ interval }: BufferFilter): number {
  return Math.ceil(interval / 1000)
}

function notesOf(
  work: readonly Work[],
  objects: readonly QemuObject[],
  chain: Chain,
  chardevs: Chardevs,
  credentials: Credentials,
): string[] {
  const buffers = [...new Set(work.flatMap(({ buffer }) => buffer ?? []))]
  return [
    ...objects
      .filter(({ kind }) => kind === 'bystander')
      .map(({ subject }) => `${subject}: left out, it has no part in frames`),
    ...credentials.unused.map(({ subject }) => `${subject}: left out, no stream uses it`),
    ...chardevs.unused.map(({ subject }) => `${subject}: left out, no object uses it`),
    ...buffers.map(({ subject }) => `${subject}: holds the copies; what the guest gets or sends is not held`),
    ...buffers
      .filter(({ interval }) => interval % 1000 !== 0)
      .map(buffer => `${buffer.subject}: an interval of ${holdMs(buffer)} ms, the next longer one`),
    ...chain.strangers.map(
      ({ subject, place }) =>
        `${subject}: position=${place.position} is none of these objects; tapferry is outside of the filters of a VM`,
    ),
    ...work.flatMap(({ filter }) =>
      indevsBefore(filter, chain).map(
        ({ subject }) =>
          `${filter.subject}: does not copy what ${subject} brings; tapferry captures no frame of its own`,
      ),
    ),
  ]
}
