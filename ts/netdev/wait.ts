/** Netdevs that a VM does not have yet, for those who wait for them. */

import { setTimeout as sleep } from 'node:timers/promises'
import { TapferryError } from '../errors.ts'

/** How often a netdev id that the monitor does not know yet is asked for again. */
const RETRY_MS = 250

export interface Waiting {
  /** Without it, what is missing is a failure at once. */
  readonly wait: boolean
  readonly signal: AbortSignal
  /** Called once, when waiting begins. */
  readonly onWaiting: () => void
}

/** What a look-up comes to, when it comes to something. */
export async function whenThere<T>(
  lookUp: () => Promise<T>,
  { wait, signal, onWaiting }: Waiting,
): Promise<T> {
  for (let waiting = false; ; waiting = true) {
    try {
      return await lookUp()
    } catch (error) {
      if (!wait || !mayAppear(error)) throw error
      if (!waiting) onWaiting()
    }
    await sleep(RETRY_MS, undefined, { signal })
  }
}

/** A lost monitor is tried again by itself. */
function mayAppear(error: unknown): boolean {
  const codes = ['NETDEV_ID_UNKNOWN', 'MONITOR_LOST', 'MONITOR_TIMEOUT']
  return error instanceof TapferryError && codes.includes(error.code)
}
