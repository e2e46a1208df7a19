export declare const HOW_TO_GET_IT: string;
export declare function locateTemporalCli(): string | undefined;
export declare function locateTestServer(): string | undefined;
