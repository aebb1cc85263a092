/**
 * The human monitor's `info network`, read into the VM's net clients. Pure. QMP has no command that tells a
 * netdev's interface.
 *
 *     hn0: index=0,type=tap,ifname=tapx0,script=no,downscript=no     a backend without a device: at column 0
 *     net0: index=0,type=nic,model=virtio-net-pci,macaddr=...        a device, followed by its backend
 *      \ hn0: index=0,type=tap,fd=3
 *     hub 0                                                          a hub, followed by its ports and their peers
 *      \ hp0: hn0: index=0,type=tap,ifname=tapx0,...
 *
 * A multiqueue netdev has one line a queue, with the same name and index=0, 1, ...
 */

export interface NetClient {
  /** The netdev's id, or the device's id. */
  readonly id: string
  /** `tap`, `user`, `socket`, `stream`, `vhost-user`, ...; `nic` is a device. */
  readonly type: string
  readonly queues: number
  /** The host interface, if QEMU made the TAP itself. */
  readonly interface?: string
  /** QEMU's descriptor of the TAP, if it was handed over. */
  readonly fd?: number
  /** Of a backend: the device that it is plugged into. */
  readonly device?: string
  /** Of a device: `virtio-net-pci`, `e1000`, ... */
  readonly model?: string
  /** Of a device: the address that the guest sees. */
  readonly mac?: string
}

const LINE = /^(?<peer> \\ (?:\S+: )?)?(?<id>\S+): index=\d+,type=(?<type>[^,]+),?(?<info>.*)$/

/** Interface names may hold a comma, and `script=` always follows one (net/tap.c). */
const IFNAME = /(?:^|,)ifname=(?:(?<scripted>.*?),script=.*|(?<plain>[^,]*).*)$/

export function parseInfoNetwork(text: string): NetClient[] {
  const clients = new Map<string, NetClient>()
  let device: string | undefined
  for (const line of text.split(/\r?\n/)) {
    const { peer, id = '', type = '', info = '' } = LINE.exec(line)?.groups ?? {}
    if (id === '') {
      device = undefined
      continue
    }
    if (peer === undefined) device = type === 'nic' ? id : undefined
    const key = `${type === 'nic' ? 'nic' : 'netdev'} ${id}`
    const queues = (clients.get(key)?.queues ?? 0) + 1
    const { scripted, plain } = IFNAME.exec(info)?.groups ?? {}
    const fd = /(?:^|,)fd=(\d+)/.exec(info)?.[1]
    const ifname = scripted ?? plain
    const { model, mac } = /^model=(?<model>[^,]*),macaddr=(?<mac>[0-9a-f:]+)/.exec(info)?.groups ?? {}
    clients.set(key, {
      id,
      type,
      ...(ifname === undefined ? {} : { interface: ifname }),
      ...(fd === undefined ? {} : { fd: Number(fd) }),
      ...(peer === undefined || device === undefined ? {} : { device }),
      ...(model === undefined || mac === undefined ? {} : { model, mac }),
      // The first queue speaks for all.
      ...clients.get(key),
      queues,
    })
  }
  return [...clients.values()]
}
