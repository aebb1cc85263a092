/** The monitor that was given: whether it answers, whose it is, and who is connected. */

import { TapferryError } from '../../errors.ts'
import { closedDirectories } from '../../host/files.ts'
import { findBothEnds } from '../../host/listeners.ts'
import { Monitor, parseMonitorAddress } from '../../monitor/index.ts'
import { managerOf } from '../../vm/discover.ts'
import type { MonitorFacts } from '../facts.ts'
import { isFerry } from './ferries.ts'

/** How long a monitor may take for its greeting; one that is held would never send it. */
const PATIENCE_MS = 700

/** The connection is left open for the questions that follow. */
export async function askMonitor(
  address: string | undefined,
): Promise<{ facts: MonitorFacts | undefined; connection: Monitor | undefined }> {
  if (address === undefined) return { facts: undefined, connection: undefined }
  const parsed = parseMonitorAddress(address)
  const { server: vm, clients } = await findBothEnds(parsed)
  const ferries = await Promise.all(clients.map(async ({ pid }) => ((await isFerry(pid)) ? [pid] : [])))
  const rest = {
    ...{ address, manager: managerOf(address), vm, clients, ferry: ferries.flat()[0] },
    closedDirectories: parsed.kind === 'unix' ? await closedDirectories(parsed.path) : [],
  }
  try {
    const connection = await Monitor.connect({ address, connectTimeoutMs: PATIENCE_MS })
    const { running, status, local } = connection
    return {
      facts: { ...rest, problem: undefined, running, status, local },
      connection,
    }
  } catch (error) {
    const problem = TapferryError.from(error)
    return {
      facts: { ...rest, problem, running: false, status: 'unknown', local: true },
      connection: undefined,
    }
  }
}
