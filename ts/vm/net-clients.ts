/** The VM's netdevs and NICs, as its monitor knows them. */

import type { Monitor } from '../monitor/index.ts'
import { type NetClient, parseInfoNetwork } from './info-network.ts'

/** In the VM's order. Rejects with what Monitor.command rejects with. */
export async function listNetClients(monitor: Monitor): Promise<NetClient[]> {
  const text = await monitor.command<string>('human-monitor-command', { 'command-line': 'info network' })
  return parseInfoNetwork(text)
}
