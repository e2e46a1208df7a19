export declare function run(command: string, args: string[], options: { limitS: number }): Promise<string>;
export declare function lastLines(output: string, count: number): string;
