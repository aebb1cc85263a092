/** What came of it, in one sentence, and how good that is. Pure. */

import { formatCount, formatFrames } from '../../output/format.ts'
import { axisOf, inWords } from './axis.ts'
import { cutDoubt } from './cut.ts'
import { framesLost, lossesOf } from './losses.ts'
import type { NetdevPair, Pair } from './pair.ts'
import type { NetdevOutcome } from './shape.ts'

export type Tone = 'good' | 'caution' | 'bad' | 'neutral'

export interface Verdict {
  tone: Tone
  headline: string
  /** One more sentence, where the headline does not say it all. */
  more: string | undefined
}

/** The worst first: what one netdev has become is said of all. */
const WORST_FIRST: readonly NetdevOutcome[] = ['failed', 'pending', 'cancelled', 'stopped', 'done']

export function verdictOf(pair: Pair): Verdict {
  const outcome = worstOf(pair.netdevs)
  switch (outcome) {
    case 'failed':
      return failed(pair)
    case 'pending':
      return {
        tone: 'caution',
        headline: 'Not over yet: this is how far it had come',
        more: carriedSoFar(pair),
      }
    case 'cancelled':
      return cancelled(pair)
    case 'stopped':
      return { tone: 'neutral', headline: 'No migration came: nothing was handed over', more: undefined }
    case 'done':
      return done(pair)
  }
}

/** That of the netdev and side that fared worst. */
export function worstOf(netdevs: readonly NetdevPair[]): NetdevOutcome {
  const outcomes = netdevs.flatMap(({ source, destination }) => [source?.outcome, destination?.outcome])
  return WORST_FIRST.find(outcome => outcomes.includes(outcome)) ?? 'done'
}

export function lostIn({ netdevs }: Pick<Pair, 'netdevs'>): number {
  return framesLost(netdevs.flatMap(lossesOf))
}

/** What the guest was given: as the destination counts it, or as it told the source. */
export function carriedIn({ netdevs }: Pick<Pair, 'netdevs'>): number {
  return netdevs.reduce(
    (sum, { source, destination }) => sum + (destination?.injected ?? source?.sent ?? 0),
    0,
  )
}

/** From the stop to the destination's RESUME, in milliseconds; that of the netdev that was longest without. */
export function downtimeOf({ netdevs }: Pick<Pair, 'netdevs'>): number | undefined {
  const known = netdevs.flatMap(({ source, destination }) => {
    const milliseconds = source?.downtime_ms ?? destination?.downtime_ms ?? null
    return milliseconds === null ? [] : [milliseconds]
  })
  return known.length === 0 ? undefined : Math.max(...known)
}

/** How long after the VM ran again its parked frames were injected, in milliseconds; undefined: before, or not known. */
export function lateBy(pair: NetdevPair): number | undefined {
  const { destination } = pair
  const injected = destination?.opened_ns ?? destination?.cut_ns
  if (!destination?.resumed_ns || !injected) return undefined
  const axis = axisOf(pair)
  const milliseconds = axis.of('destination', injected) - axis.of('destination', destination.resumed_ns)
  return milliseconds > 0 && destination.parked_most > 0 ? milliseconds : undefined
}

function done(pair: Pair): Verdict {
  const lost = lostIn(pair)
  const carried = carriedIn(pair)
  const stopped = whileStopped(pair)
  if (pair.destination === undefined) {
    const acknowledged = pair.netdevs.reduce((sum, { source }) => sum + (source?.acknowledged ?? 0), 0)
    const headline = `${lostInWords(lost)} at the source: ${formatCount(carried)} sent on${stopped}`
    const more = `The destination has acknowledged ${acknowledged === carried ? 'all' : formatCount(acknowledged)} of them. What it did with them is in its own report, which is missing here.`
    return { tone: lost > 0 || acknowledged < carried ? 'bad' : 'caution', headline, more }
  }
  const late = pair.netdevs.some(netdev => lateBy(netdev) !== undefined)
  const order = late ? 'not all in order' : 'in order'
  const carriedOver =
    carried === 0 ? 'none had to be carried over' : `${formatCount(carried)} carried over, ${order},`
  if (pair.source === undefined) {
    const headline = `${lostInWords(lost)} at the destination: ${carriedOver.replace(' carried over', ' injected')}${stopped}`
    const more =
      'What was captured there, and whether all of it was sent, is in the report of the source, which is missing here.'
    return { tone: lost > 0 ? 'bad' : 'caution', headline: headline.replace(/,$/, ''), more }
  }
  const doubts = pair.netdevs.flatMap(({ source }) => (source ? (cutDoubt(source) ?? []) : []))
  const headline = `${lostInWords(lost)}: ${carriedOver}${stopped}`.replace(/,$/, '')
  const more = doubts[0] === undefined ? undefined : `The cut is not exact: ${doubts[0]}.`
  return { tone: lost > 0 ? 'bad' : late || more !== undefined ? 'caution' : 'good', headline, more }
}

function cancelled(pair: Pair): Verdict {
  const sum = (of: (netdev: NetdevPair) => number | undefined) =>
    pair.netdevs.reduce((frames, netdev) => frames + (of(netdev) ?? 0), 0)
  const disagree = pair.netdevs.some(({ source, destination }) => {
    return source && destination && (source.outcome === 'done') !== (destination.outcome === 'done')
  })
  if (disagree) {
    const headline = 'The two sides do not agree: one has handed over, the other has given up'
    return { tone: 'bad', headline, more: 'See how each of them ended, below.' }
  }
  const injected = sum(({ destination }) => destination?.injected)
  const captured = sum(({ source, destination }) => source?.captured ?? destination?.received)
  const givenBack = sum(({ source }) => source?.given_back)
  const back = givenBack === 0 ? '' : `, ${formatCount(givenBack)} of them given back by tapferry`
  const more =
    `${formatFrames(captured)} came while it was stopped: the guest has them from its own TAP${back}. ` +
    (pair.destination === undefined
      ? 'The report of the destination is missing here.'
      : injected === 0
        ? 'Nothing was injected at the destination.'
        : `${formatFrames(injected)} had been injected at the destination by then.`)
  return { tone: 'neutral', headline: 'Cancelled: the VM runs on at the source, and nothing was lost', more }
}

function failed(pair: Pair): Verdict {
  const reasons = pair.netdevs.flatMap(({ source, destination }) => [
    ...(source?.outcome === 'failed' && source.reason ? [`source: ${source.reason}`] : []),
    ...(destination?.outcome === 'failed' && destination.reason
      ? [`destination: ${destination.reason}`]
      : []),
  ])
  const more = reasons.length === 0 ? undefined : `${capital([...new Set(reasons)].join('; '))}.`
  return { tone: 'bad', headline: `Failed: ${lostInWords(lostIn(pair))}, ${carriedSoFar(pair)}`, more }
}

function carriedSoFar(pair: Pair): string {
  return `${formatCount(carriedIn(pair))} ${pair.destination === undefined ? 'sent on' : 'carried over'}`
}

function whileStopped(pair: Pair): string {
  const downtime = downtimeOf(pair)
  return downtime === undefined ? '' : ` while the VM was stopped for ${inWords(downtime)}`
}

function lostInWords(lost: number): string {
  return `${formatFrames(lost)} lost`
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
