/** A monitor whose VM is heard late: what it says is passed on after a delay, what it is told at once. */

import { connect, createServer, type Server, type Socket } from 'node:net'

export class SlowMonitor {
  readonly path: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  /** Listens at `path` for clients of the monitor at `target`. */
  static async listen(path: string, target: string, delayMs: number): Promise<SlowMonitor> {
    const slow = new SlowMonitor(path, target, delayMs)
    await new Promise<void>(resolve => slow.#server.listen(path, resolve))
    return slow
  }

  private constructor(path: string, target: string, delayMs: number) {
    this.path = path
    this.#server = createServer(client => {
      const vm = connect(target)
      for (const socket of [client, vm]) this.#sockets.add(socket.on('error', () => {}))
      client.pipe(vm)
      vm.on('data', data => setTimeout(() => client.write(data), delayMs))
      vm.on('close', () => client.destroy())
    })
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
  }
}
