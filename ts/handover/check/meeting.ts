/**
 * The other side of a rehearsal: looked at where it listens, or waited for here. Either may be there first.
 *
 * A source asks `tapferry handover dest`, which goes on as if nobody had come, or `check dest`, which waits for it.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { HandoverEncounter, HandoverNetdevOptions } from '../../binding.ts'
import type { TapferryError } from '../../errors.ts'
import { loadBinding } from '../../native.ts'
import { stopRequested } from '../../signals.ts'
import type { HandoverPlan } from '../plan.ts'
import { handoverAddress } from '../vm.ts'

export interface Meeting {
  /** One for each netdev at the source; at the destination one for each that came. */
  readonly encounters: readonly HandoverEncounter[]
  /** Why there could be none. */
  readonly problem: TapferryError | undefined
}

/** How long the other side is waited for. */
export interface Patience {
  readonly milliseconds: number
  /** Told once, when it turns out that there is something to wait for. */
  readonly onWaiting: () => void
}

/** Between two looks for a destination, and between two at whether to stop. */
const TICK_MS = 250
/** A source that has come for one netdev comes for its others in less. */
const OTHERS_MS = 2_000

/** Rejects where it cannot listen, or not even dial. */
export function meet(
  plan: HandoverPlan,
  netdevs: readonly HandoverNetdevOptions[],
  patience: Patience,
): Promise<HandoverEncounter[]> {
  return (plan.side === 'source' ? visit : receive)(plan, netdevs, patience)
}

/** Whether anybody was there. */
export function isReached({ differences }: HandoverEncounter): boolean {
  return !differences.some(({ code }) => code === 'way_refused' || code === 'way_silent')
}

async function visit(
  plan: HandoverPlan,
  netdevs: readonly HandoverNetdevOptions[],
  { milliseconds, onWaiting }: Patience,
): Promise<HandoverEncounter[]> {
  const look = (netdev: HandoverNetdevOptions) => loadBinding().visitHandover(netdev, handoverAddress(plan))
  const until = performance.now() + milliseconds
  const encounters: HandoverEncounter[] = []
  let isWaiting = false
  for (const netdev of netdevs) {
    let encounter = await look(netdev)
    while (!isReached(encounter) && performance.now() < until && !stopRequested.aborted) {
      if (!isWaiting) onWaiting()
      isWaiting = true
      await sleep(TICK_MS)
      encounter = await look(netdev)
    }
    encounters.push(encounter)
    // Once is enough.
    if (!isReached(encounter)) break
  }
  return encounters
}

async function receive(
  plan: HandoverPlan,
  netdevs: readonly HandoverNetdevOptions[],
  { milliseconds, onWaiting }: Patience,
): Promise<HandoverEncounter[]> {
  const rehearsal = await loadBinding().HandoverRehearsal.start([...netdevs], handoverAddress(plan))
  const encounters: HandoverEncounter[] = []
  const isComplete = () =>
    netdevs.every(({ identity }) => encounters.some(({ netdev }) => netdev === identity.netdevId))
  try {
    if (milliseconds > 0) onWaiting()
    let until = performance.now() + milliseconds
    while (!isComplete() && performance.now() < until && !stopRequested.aborted) {
      const encounter = await rehearsal.next(TICK_MS)
      // A source that is armed tries again and again.
      if (encounter === null || encounters.some(known => isSame(known, encounter))) continue
      encounters.push(encounter)
      if (!isStranger(encounter)) until = performance.now() + OTHERS_MS
    }
  } finally {
    await rehearsal.stop()
  }
  return encounters
}

function isSame(one: HandoverEncounter, other: HandoverEncounter): boolean {
  const [[why], [otherWhy]] = [one.differences, other.differences]
  const isAsGood = one.peer !== undefined || why?.code === otherWhy?.code
  return isAsGood && one.netdev === other.netdev && one.peer?.netdevId === other.peer?.netdevId
}

/** Somebody who may have nothing to do with the VM. */
export function isStranger({ peer, differences }: HandoverEncounter): boolean {
  return peer === undefined && differences.every(({ weight }) => weight === 'note')
}
