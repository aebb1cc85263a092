/**
 * The process's signals. Imported before anything else: while SIGUSR1 has no listener, Node answers it by
 * opening its inspector on a TCP port, in a process that may hold CAP_NET_RAW.
 */

type Listener = () => void

let statisticsListener: Listener | undefined
const stopping = new AbortController()

/** Aborted by the first SIGINT or SIGTERM, and when nobody reads our output any more. */
export const stopRequested: AbortSignal = stopping.signal

export function requestStop(): void {
  stopping.abort()
}

/** SIGUSR1 asks for statistics; without a listener it is ignored. */
export function onStatisticsRequest(listener: Listener): void {
  statisticsListener = listener
}

export function catchStatisticsSignal(): void {
  process.on('SIGUSR1', () => statisticsListener?.())
}

/** Below this a second signal is the same request: a terminal and timeout(1) both send one to whoever is stopped. */
const SAME_REQUEST_MS = 500

/**
 * From now on the first SIGINT or SIGTERM requests a stop, and one that comes later ends the process at once.
 * `clock`: milliseconds.
 */
export function catchStopSignals(clock: () => number = () => performance.now()): void {
  let firstMs: number | undefined
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (firstMs === undefined) {
        firstMs = clock()
        // A terminal shows ^C where the cursor is; what follows begins a line of its own.
        if (signal === 'SIGINT' && process.stderr.isTTY) process.stderr.write('\n')
        return requestStop()
      }
      if (clock() - firstMs < SAME_REQUEST_MS) return
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    })
  }
}
